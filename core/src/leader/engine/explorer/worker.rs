//! What a worker may answer. Operations multiply bytes by ten, folds write one behind the other.

use std::rc::Rc;

use super::world::{Answer, worker};
use crate::{
    id::ExecutionId,
    operation::{ErrorKind, OperationError},
    registry::Verb,
    wire::{
        NotRunReason, Outcome, ResultHeader, ResultMessage, Return, ReturnReason, Segment,
        TaskKind, TaskMessage,
    },
};

/// Gives a task back.
pub(super) fn returned(message: &TaskMessage, by: usize, why: ReturnReason) -> Answer {
    let (task, attempt) = (message.header.task, message.header.attempt);
    Answer::Return(Return { task, attempt, worker: worker(by), why, position: None })
}

/// The process that contained a task died at this offset.
pub(super) fn crashed(message: &TaskMessage, by: usize, position: u32) -> Answer {
    let why = ReturnReason::Crashed { status: "killed".to_owned() };
    let (task, attempt) = (message.header.task, message.header.attempt);
    let position = Some(position);
    Answer::Return(Return { task, attempt, worker: worker(by), why, position })
}

/// Runs the first `count` elements of a batch; one of them may fail.
pub(super) fn run(message: &TaskMessage, by: usize, count: u32, failing: Option<u32>) -> Answer {
    let folds = message.header.steps.iter().any(|step| step.verb == Verb::Fold);
    let maps = message.header.steps.iter().any(|step| step.verb == Verb::Map);
    let batch = message.header.count().unwrap();
    let mut segments = Vec::new();
    let mut payload = Vec::new();
    let mut done = |from: u32, to: u32, segments: &mut Vec<Segment>| {
        if from < to {
            let part = match message.header.kind {
                // Partial results have no length of their own here: a combination is whole.
                TaskKind::Combine => &message.payload[..],
                _ => &message.payload[from as usize..to as usize],
            };
            payload.extend(part.iter().map(|n| if maps { n * 10 } else { *n }));
            let bytes = part.len() as u64;
            let outputs = if folds { 1 } else { to - from };
            let (counts, lengths, counters) = (None, None, Vec::new());
            let outcome = Outcome::Done { bytes, outputs, counts, lengths, counters };
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
        let outcome = Outcome::NotRun { why: NotRunReason::TimeSlice };
        segments.push(Segment { from: not_run_from, to: batch, outcome });
    }
    let header = ResultHeader {
        leader: message.header.leader,
        task: message.header.task,
        attempt: message.header.attempt,
        execution: ExecutionId(uuid::Uuid::nil()),
        worker: worker(by),
        busy_us: 1000 * u64::from(count),
        waited_us: 0,
        segments,
    };
    Answer::Result(Rc::new(ResultMessage { header, payload: payload.into() }))
}
