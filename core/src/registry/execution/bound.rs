//! Steps that are bound to the state of their operation.

use std::{ops::Range, sync::Arc, time::Duration};

use super::{AsyncRun, Body, Run, wrong_type};
use crate::{
    operation::{ErrorKind, Execution, OperationError, TaskContext},
    registry::{
        Column, CompiledStep, Failure, Fold, Refusal, StepFuture, Verb, description::VerbEntry,
    },
};

pub(in crate::registry) struct BoundStep {
    pub(in crate::registry) name: String,
    pub(in crate::registry) verb: Verb,
    pub(in crate::registry) entry: VerbEntry,
    pub(in crate::registry) body: Body,
}

impl CompiledStep for BoundStep {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_async(&self) -> bool {
        matches!(self.body, Body::Asynchronous(_))
    }

    fn is_one_to_one(&self) -> bool {
        matches!(self.verb, Verb::Map | Verb::TryMap)
    }

    fn accepts(&self, column: &Column) -> bool {
        column.vec_type() == Some((self.entry.input.vec_type)())
    }

    fn decode(
        &self,
        bytes: &mut &[u8],
        first: u32,
        max: u32,
        max_bytes: usize,
    ) -> Result<Column, Refusal> {
        (self.entry.input.decode)(bytes, first, max, max_bytes).map_err(|(offset, reason)| {
            Refusal::Undecodable { name: self.name.clone(), offset, reason }
        })
    }

    fn run(&self, input: Column, cx: &TaskContext, failures: &mut Vec<Failure>) -> Column {
        let Body::Blocking(body) = &self.body else {
            failures.extend(wrong_type(&input, &self.name));
            return Column::empty();
        };
        body.run(input, &mut Run { name: &self.name, cx, failures })
    }

    fn run_async<'a>(
        &'a self,
        input: Column,
        execution: &'a Arc<Execution>,
        concurrency: usize,
        timeout: Option<Duration>,
    ) -> StepFuture<'a> {
        let Body::Asynchronous(body) = &self.body else {
            let failures = wrong_type(&input, &self.name);
            return Box::pin(std::future::ready((Column::empty(), failures)));
        };
        body.run(input, AsyncRun { name: &self.name, execution, concurrency, timeout })
    }

    fn encode(
        &self,
        output: &Column,
        range: Range<usize>,
        bytes: &mut Vec<u8>,
        ends: Option<&mut Vec<u32>>,
    ) -> Result<(), (usize, OperationError)> {
        (self.entry.output.encode)(output, range, bytes, ends).map_err(|(index, error)| {
            let reason = format!("an output of operation `{}`: {error}", self.name);
            (index, OperationError::new(ErrorKind::Codec, reason))
        })
    }

    fn fold(&self) -> Option<Box<dyn Fold + '_>> {
        match &self.body {
            Body::Fold(body) => Some(body.start(&self.name)),
            Body::Blocking(_) | Body::Asynchronous(_) => None,
        }
    }
}
