//! The replies of workers. `map` multiplies a byte by ten, and folds concatenate bytes.

use std::rc::Rc;

use super::parts::{Reply, worker};
use crate::{
    id::ExecutionId,
    operation::{ErrorKind, OperationError},
    registry::Verb,
    wire::{
        NotRunReason, Outcome, ResultHeader, ResultMessage, Return, ReturnReason, Segment,
        TaskKind, TaskMessage,
    },
};

/// A worker returns a task.
pub(super) fn returned(message: &TaskMessage, by: usize, reason: ReturnReason) -> Reply {
    let copy = Some(message.header.copy);
    Reply::Return(Return { copy, worker: worker(by), reason, offset: None })
}

/// The child process that ran a task died at this offset.
pub(super) fn crashed(message: &TaskMessage, by: usize, offset: u32) -> Reply {
    let copy = Some(message.header.copy);
    let reason = ReturnReason::Crashed { status: "killed".to_owned() };
    Reply::Return(Return { copy, worker: worker(by), reason, offset: Some(offset) })
}

/// Runs the first `count` elements of a batch; one of them may fail.
pub(super) fn run(message: &TaskMessage, by: usize, count: u32, failing: Option<u32>) -> Reply {
    let folds = message.header.steps.iter().any(|step| step.verb == Verb::Fold);
    let maps = message.header.steps.iter().any(|step| step.verb == Verb::Map);
    let batch = message.header.count().unwrap();
    let mut segments = Vec::new();
    let mut payload = Vec::new();
    let mut done = |from: u32, to: u32, segments: &mut Vec<Segment>| {
        if from < to {
            let part = match message.header.kind {
                // The model records no length for partial results: a combination is never cut.
                TaskKind::Combine => &message.payload[..],
                _ => &message.payload[from as usize..to as usize],
            };
            payload.extend(part.iter().map(|n| if maps { n * 10 } else { *n }));
            let bytes = part.len() as u64;
            let outputs = if folds { 1 } else { to - from };
            let (counts, lengths) = (None, None);
            let outcome = Outcome::Done { bytes, outputs, counts, lengths };
            segments.push(Segment { from, to, outcome });
        }
    };
    let combines_partly = message.header.kind == TaskKind::Combine && count < batch;
    let not_run_from = if combines_partly { 0 } else { count };
    if let Some(at) = failing {
        done(0, at, &mut segments);
        let error = OperationError::new(ErrorKind::Transient, "busy");
        let outcome = Outcome::Failed { step: 0, error };
        segments.push(Segment { from: at, to: at + 1, outcome });
        done(at + 1, not_run_from, &mut segments);
    } else {
        done(0, not_run_from, &mut segments);
    }
    if not_run_from < batch {
        let outcome = Outcome::NotRun { reason: NotRunReason::TimeSlice };
        segments.push(Segment { from: not_run_from, to: batch, outcome });
    }
    let header = ResultHeader {
        leader: message.header.leader,
        copy: message.header.copy,
        execution: ExecutionId(uuid::Uuid::nil()),
        worker: worker(by),
        busy_us: 1000 * u64::from(count),
        waited_us: 0,
        segments,
        blocks: Vec::new(),
        lists: Vec::new(),
    };
    Reply::Result(Rc::new(ResultMessage { header, payload: payload.into() }))
}
