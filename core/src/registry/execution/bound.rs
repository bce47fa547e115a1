//! Steps that are bound to the state of their operation.

use std::{ops::Range, sync::Arc, time::Duration};

use super::{AsyncRun, Folding, Groups, Run, Runner, State, wrong_type};
use crate::{
    codec::Encodings,
    operation::{ErrorKind, Execution, OperationError, TaskContext},
    registry::{
        Accumulators, Column, CompiledStep, FailedElement, Fold, Order, Refusal, StepFuture, Verb,
        description::VerbEntry, type_codec::Encoding, values::Guarded,
    },
};

pub(in crate::registry) struct BoundStep {
    pub(in crate::registry) name: String,
    pub(in crate::registry) verb: Verb,
    pub(in crate::registry) entry: VerbEntry,
    pub(in crate::registry) state: Box<State>,
}

/// A step without an operation, which only rearranges keys and values.
pub(in crate::registry) struct RowStep(pub(in crate::registry) Verb);

impl RowStep {
    fn no_operation(&self) -> OperationError {
        let text = format!("`{}` has no operation to run", self.0);
        OperationError::new(ErrorKind::Codec, text)
    }
}

impl CompiledStep for RowStep {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn is_async(&self) -> bool {
        false
    }

    fn is_one_to_one(&self) -> bool {
        self.0.is_one_to_one()
    }

    fn accepts(&self, _column: &Column) -> bool {
        false
    }

    fn decode(&self, _: &mut &[u8], offset: u32, _: u32, _: usize) -> Result<Column, Refusal> {
        let (name, reason) = (self.name().to_owned(), self.no_operation().to_string());
        Err(Refusal::Undecodable { name, offset, reason })
    }

    fn run(&self, input: Column, _: &TaskContext, failures: &mut Vec<FailedElement>) -> Column {
        failures.extend(wrong_type(&input.offsets, self.name()));
        Column::empty()
    }

    fn run_async<'a>(
        &'a self,
        input: Column,
        _: &'a Arc<Execution>,
        _: usize,
        _: Option<Duration>,
    ) -> StepFuture<'a> {
        let failures = wrong_type(&input.offsets, self.name());
        Box::pin(std::future::ready((Column::empty(), failures)))
    }

    fn encode(
        &self,
        _: &Column,
        _: Range<usize>,
        _: &mut Vec<u8>,
        _: Option<&mut Vec<u32>>,
    ) -> Result<(), (usize, OperationError)> {
        Err((0, self.no_operation()))
    }

    fn encode_rows(
        &self,
        _: &Column,
        _: Range<usize>,
        _: &mut Encodings,
    ) -> Result<(), (usize, OperationError)> {
        Err((0, self.no_operation()))
    }

    fn encodes(&self) -> bool {
        false
    }

    fn run_encoded(
        &self,
        input: Column,
        _: &TaskContext,
        failures: &mut Vec<FailedElement>,
    ) -> (Encodings, Vec<u32>) {
        failures.extend(wrong_type(&input.offsets, self.name()));
        Default::default()
    }

    fn accumulators(&self) -> Option<Accumulators> {
        None
    }

    fn combine(
        &self,
        _: &mut Accumulators,
        _: &[u32],
        _: Column,
        _: &TaskContext,
    ) -> Vec<(usize, OperationError)> {
        vec![(0, self.no_operation())]
    }

    fn finish(&self, _: Accumulators) -> Column {
        Column::empty()
    }

    fn order(&self, _: bool) -> Option<Order> {
        None
    }

    fn fold(&self) -> Option<Box<dyn Fold + '_>> {
        None
    }
}

impl BoundStep {
    fn encode_into(
        &self,
        output: &Column,
        range: Range<usize>,
        encoding: Encoding<'_>,
    ) -> Result<(), (usize, OperationError)> {
        let encoded = self.entry.output.encode(output.guarded(), range, encoding);
        encoded.map_err(|(index, error)| {
            let reason = format!("an output of operation `{}`: {error}", self.name);
            (index, OperationError::new(ErrorKind::Codec, reason))
        })
    }
}

impl CompiledStep for BoundStep {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_async(&self) -> bool {
        matches!(self.entry.runner, Runner::Asynchronous { .. })
    }

    fn is_one_to_one(&self) -> bool {
        self.verb.is_one_to_one()
    }

    fn accepts(&self, column: &Column) -> bool {
        self.entry.input.accepts(column)
    }

    fn decode(
        &self,
        bytes: &mut &[u8],
        first: u32,
        max: u32,
        max_bytes: usize,
    ) -> Result<Column, Refusal> {
        self.entry.input.decode(bytes, first, max, max_bytes).map_err(|(offset, reason)| {
            Refusal::Undecodable { name: self.name.clone(), offset, reason }
        })
    }

    fn run(&self, input: Column, cx: &TaskContext, failures: &mut Vec<FailedElement>) -> Column {
        let Runner::Blocking { run, .. } = self.entry.runner else {
            failures.extend(wrong_type(&input.offsets, &self.name));
            return Column::empty();
        };
        let Self { name, entry, state, .. } = self;
        let tracks = self.verb == Verb::FlatMapValues;
        Run { name, entry, state: &**state, cx, tracks }.all(run, input, failures)
    }

    fn run_async<'a>(
        &'a self,
        input: Column,
        execution: &'a Arc<Execution>,
        concurrency: usize,
        timeout: Option<Duration>,
    ) -> StepFuture<'a> {
        let Runner::Asynchronous { start, finish } = self.entry.runner else {
            let failures = wrong_type(&input.offsets, &self.name);
            return Box::pin(std::future::ready((Column::empty(), failures)));
        };
        let Self { name, entry, state, .. } = self;
        let tracks = self.verb == Verb::FlatMapValues;
        AsyncRun { name, entry, state: &**state, execution, concurrency, timeout, tracks }
            .all(start, finish, input)
    }

    fn encode(
        &self,
        output: &Column,
        range: Range<usize>,
        bytes: &mut Vec<u8>,
        ends: Option<&mut Vec<u32>>,
    ) -> Result<(), (usize, OperationError)> {
        self.encode_into(output, range, Encoding::new(bytes, ends))
    }

    fn encode_rows(
        &self,
        output: &Column,
        range: Range<usize>,
        rows: &mut Encodings,
    ) -> Result<(), (usize, OperationError)> {
        self.encode_into(output, range, Encoding::rows(rows))
    }

    fn encodes(&self) -> bool {
        matches!(self.entry.runner, Runner::Blocking { encode: Some(_), .. })
            && self.verb == Verb::FlatMap
    }

    fn run_encoded(
        &self,
        input: Column,
        cx: &TaskContext,
        failures: &mut Vec<FailedElement>,
    ) -> (Encodings, Vec<u32>) {
        let Runner::Blocking { encode: Some(run), .. } = self.entry.runner else {
            failures.extend(wrong_type(&input.offsets, &self.name));
            return Default::default();
        };
        let Self { name, entry, state, .. } = self;
        Run { name, entry, state: &**state, cx, tracks: false }.all_encoded(run, input, failures)
    }

    fn accumulators(&self) -> Option<Accumulators> {
        match self.entry.runner {
            Runner::Fold { groups, .. } => Some(Accumulators(Guarded::new((groups.new)()))),
            Runner::Blocking { .. } | Runner::Asynchronous { .. } => None,
        }
    }

    fn combine(
        &self,
        accumulators: &mut Accumulators,
        groups: &[u32],
        input: Column,
        cx: &TaskContext,
    ) -> Vec<(usize, OperationError)> {
        let Runner::Fold { groups: runner, .. } = self.entry.runner else {
            let failures = wrong_type(&input.offsets, &self.name).into_iter();
            return failures.map(|failure| (0, failure.error)).take(1).collect();
        };
        let Self { name, entry, state, .. } = self;
        Groups { name, entry, state: &**state, runner }.combine(accumulators, groups, input, cx)
    }

    fn finish(&self, accumulators: Accumulators) -> Column {
        let Runner::Fold { groups, .. } = self.entry.runner else { return Column::empty() };
        match (groups.finish)(accumulators.0) {
            Some((values, groups)) => Column::of(values, groups),
            None => Column::empty(),
        }
    }

    fn order(&self, by_key: bool) -> Option<Order> {
        // The outputs of other verbs are of other types than those that have this order.
        let is_known = match self.verb {
            Verb::Map | Verb::Filter | Verb::FlatMap => !by_key,
            Verb::KeyBy => by_key,
            _ => false,
        };
        let keys = self.entry.order.filter(|_| is_known)?;
        Some(Order::new(keys, by_key))
    }

    fn fold(&self) -> Option<Box<dyn Fold + '_>> {
        let Runner::Fold { combine, rest, .. } = self.entry.runner else {
            return None;
        };
        if !matches!(self.verb, Verb::Fold | Verb::Reduce) {
            return None;
        }
        let accumulator = self.entry.output.values(1);
        let Self { name, entry, state, .. } = self;
        Some(Box::new(Folding { name, entry, state: &**state, combine, rest, accumulator }))
    }
}
