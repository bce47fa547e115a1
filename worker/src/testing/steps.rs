//! Steps over strings, hand-made against the seam of the registry.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use phalanx_core::{
    codec,
    operation::{ErrorKind, Execution, OperationError, TaskContext},
    registry::{Column, CompiledStep, Failure, Fold, Refusal, StepFuture, StepReference, Verb},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::intake::Catalogue;

/// What a step of the tests does with a string.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum TestOp {
    Append(char),
    AppendSoon(char),
    FailOn(char),
    PanicOn(char),
    /// Passes all, but what contains the character does not serialize.
    UnwritableOn(char),
    Drop(char),
    Chars,
    /// Takes and gives strings by another type of the same structure.
    Rewrap,
    Concat,
    ConcatUnless(char),
    /// Waits at a gate while the value contains the character.
    WaitOn(char),
    /// As `WaitOn`, asynchronously.
    WaitSoonOn(char),
    /// As `WaitOn`, but looks whether it is cancelled.
    WaitPolitelyOn(char),
    /// Takes so many milliseconds.
    Nap(u64),
    Unknown,
}

/// A step that travels.
pub(crate) fn reference(op: TestOp, timeout: Option<Duration>) -> StepReference {
    let verb = match op {
        TestOp::Drop(_) => Verb::Filter,
        TestOp::Chars => Verb::FlatMap,
        TestOp::Concat | TestOp::ConcatUnless(_) => Verb::Fold,
        _ => Verb::Map,
    };
    let state = codec::encode(&op).expect("plain data").into();
    StepReference { name: format!("{op:?}"), fingerprint: 0, verb, timeout, state }
}

/// The catalogue of all test steps, and the gate that some wait at.
#[derive(Clone, Default)]
pub(crate) struct Steps {
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
    /// The same, for who waits asynchronously.
    opened: Notify,
    ran: Mutex<Vec<String>>,
    /// What tells the last that waits at it to end.
    told: Mutex<CancellationToken>,
}

impl Steps {
    pub(crate) fn open_gate(&self) {
        *self.gate.open.lock().expect("no panic holds it") = true;
        self.gate.changed.notify_all();
        self.gate.opened.notify_waiters();
    }

    /// Whether the last that waits at the gate was told to end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.gate.told.lock().expect("no panic holds it").is_cancelled()
    }

    /// The values that steps were run on, in order.
    pub(crate) fn ran(&self) -> Vec<String> {
        self.gate.ran.lock().expect("no panic holds it").clone()
    }
}

impl Gate {
    async fn pass(&self) {
        loop {
            let opened = self.opened.notified();
            tokio::pin!(opened);
            opened.as_mut().enable();
            if *self.open.lock().expect("no panic holds it") {
                return;
            }
            opened.await;
        }
    }

    fn wait(&self, cx: &TaskContext, polite: bool) -> Result<(), OperationError> {
        *self.told.lock().expect("no panic holds it") = cx.execution().cancelled.clone();
        let mut open = self.open.lock().expect("no panic holds it");
        while !*open {
            if polite && cx.is_cancelled() {
                return Err(OperationError::fatal("told to end"));
            }
            let wait = self.changed.wait_timeout(open, Duration::from_millis(1));
            open = wait.expect("no panic holds it").0;
        }
        Ok(())
    }
}

impl Catalogue for Steps {
    fn compile(&self, step: &StepReference) -> Result<Box<dyn CompiledStep>, Refusal> {
        let op: TestOp = codec::decode(&step.state)
            .map_err(|e| Refusal::State { name: step.name.clone(), reason: e.to_string() })?;
        if matches!(op, TestOp::Unknown) {
            return Err(Refusal::UnknownOperation { name: step.name.clone(), known: Vec::new() });
        }
        let gate = Arc::clone(&self.gate);
        Ok(Box::new(Compiled { name: step.name.clone(), op, gate }))
    }
}

struct Compiled {
    name: String,
    op: TestOp,
    gate: Arc<Gate>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Wrapped(String);

impl Compiled {
    fn one(&self, value: String, cx: &TaskContext) -> Result<Vec<String>, OperationError> {
        self.gate.ran.lock().expect("no panic holds it").push(value.clone());
        let fatal = |value: &str| Err(OperationError::fatal(format!("failed on {value}")));
        match self.op {
            TestOp::FailOn(c) if value.contains(c) => fatal(&value),
            TestOp::PanicOn(c) if value.contains(c) => panic!("panicked on {value}"),
            TestOp::Drop(c) if value.contains(c) => Ok(vec![]),
            TestOp::Append(c) | TestOp::AppendSoon(c) => Ok(vec![format!("{value}{c}")]),
            TestOp::Chars => Ok(value.chars().map(String::from).collect()),
            TestOp::WaitOn(c) if value.contains(c) => {
                self.gate.wait(cx, false).map(|()| vec![value])
            }
            TestOp::WaitPolitelyOn(c) if value.contains(c) => {
                self.gate.wait(cx, true).map(|()| vec![value])
            }
            TestOp::Nap(millis) => {
                std::thread::sleep(Duration::from_millis(millis));
                Ok(vec![value])
            }
            _ => Ok(vec![value]),
        }
    }

    fn values(&self, column: Column) -> (Vec<String>, Vec<u32>) {
        match self.op {
            TestOp::Rewrap => {
                let (values, origins) = column.into_values::<Wrapped>().expect("accepted");
                (values.into_iter().map(|value| value.0).collect(), origins)
            }
            _ => column.into_values::<String>().expect("accepted"),
        }
    }

    fn column(&self, values: Vec<String>, origins: Vec<u32>) -> Column {
        match self.op {
            TestOp::Rewrap => Column::new(values.into_iter().map(Wrapped).collect(), origins),
            _ => Column::new(values, origins),
        }
    }
}

impl CompiledStep for Compiled {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_async(&self) -> bool {
        matches!(self.op, TestOp::AppendSoon(_) | TestOp::WaitSoonOn(_))
    }

    fn is_one_to_one(&self) -> bool {
        !matches!(
            self.op,
            TestOp::Drop(_) | TestOp::Chars | TestOp::Concat | TestOp::ConcatUnless(_)
        )
    }

    fn accepts(&self, column: &Column) -> bool {
        match self.op {
            TestOp::Rewrap => column.values::<Wrapped>().is_some(),
            _ => column.values::<String>().is_some(),
        }
    }

    fn decode(
        &self,
        bytes: &mut &[u8],
        first: u32,
        max: u32,
        max_bytes: usize,
    ) -> Result<Column, Refusal> {
        let before = bytes.len();
        let mut values = Vec::new();
        while values.len() < max as usize && (values.is_empty() || before - bytes.len() < max_bytes)
        {
            let value = codec::decode_front(bytes).map_err(|error| Refusal::Undecodable {
                name: self.name.clone(),
                offset: first + values.len() as u32,
                reason: error.to_string(),
            })?;
            values.push(value);
        }
        let origins = (first..).take(values.len()).collect();
        Ok(self.column(values, origins))
    }

    fn run(&self, input: Column, cx: &TaskContext, failures: &mut Vec<Failure>) -> Column {
        let (values, from) = self.values(input);
        let (mut outputs, mut origins) = (Vec::new(), Vec::new());
        for (value, origin) in values.into_iter().zip(from) {
            cx.set_offset(origin);
            let result = catch_unwind(AssertUnwindSafe(|| self.one(value, cx)));
            match result.unwrap_or_else(|_| Err(OperationError::new(ErrorKind::Panic, "panic"))) {
                Ok(more) => {
                    origins.resize(origins.len() + more.len(), origin);
                    outputs.extend(more);
                }
                Err(error) => failures.push(Failure { origin, error }),
            }
        }
        self.column(outputs, origins)
    }

    fn run_async<'a>(
        &'a self,
        input: Column,
        execution: &'a Arc<Execution>,
        _concurrency: usize,
        _timeout: Option<Duration>,
    ) -> StepFuture<'a> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if let TestOp::WaitSoonOn(c) = self.op
                && input.values::<String>().is_some_and(|all| all.iter().any(|v| v.contains(c)))
            {
                self.gate.ran.lock().expect("no panic holds it").push("soon".to_owned());
                self.gate.pass().await;
            }
            let mut failures = Vec::new();
            let cx = TaskContext::new(Arc::clone(execution), 0);
            (self.run(input, &cx, &mut failures), failures)
        })
    }

    fn encode(
        &self,
        output: &Column,
        range: std::ops::Range<usize>,
        bytes: &mut Vec<u8>,
        mut ends: Option<&mut Vec<u32>>,
    ) -> Result<(), (usize, OperationError)> {
        for (index, at) in range.enumerate() {
            let value = match self.op {
                TestOp::Rewrap => &output.values::<Wrapped>().expect("its own")[at].0,
                _ => &output.values::<String>().expect("its own")[at],
            };
            if matches!(self.op, TestOp::UnwritableOn(c) if value.contains(c)) {
                return Err((index, OperationError::new(ErrorKind::Codec, "unwritable")));
            }
            codec::encode_into(value, bytes).expect("a string");
            if let Some(ends) = &mut ends {
                ends.push(bytes.len() as u32);
            }
        }
        Ok(())
    }

    fn fold(&self) -> Option<Box<dyn Fold + '_>> {
        match self.op {
            TestOp::Concat => Some(Box::new(Concat { unless: None, sum: None })),
            TestOp::ConcatUnless(c) => Some(Box::new(Concat { unless: Some(c), sum: None })),
            _ => None,
        }
    }
}

struct Concat {
    unless: Option<char>,
    sum: Option<String>,
}

impl Fold for Concat {
    fn absorb(&mut self, input: Column, cx: &TaskContext) -> Result<(), Box<(Failure, Column)>> {
        let (values, origins) = input.into_values::<String>().expect("accepted");
        for (at, value) in values.iter().enumerate() {
            cx.set_offset(origins[at]);
            if self.unless.is_some_and(|c| value.contains(c)) {
                self.sum = None;
                let error = OperationError::fatal("not to be combined");
                let rest = Column::new(values[at + 1..].to_vec(), origins[at + 1..].to_vec());
                return Err(Box::new((Failure { origin: origins[at], error }, rest)));
            }
            self.sum.get_or_insert_default().push_str(value);
        }
        Ok(())
    }

    fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<bool, OperationError> {
        let Some(sum) = self.sum.take() else { return Ok(false) };
        codec::encode_into(&sum, bytes).expect("a string");
        Ok(true)
    }
}
