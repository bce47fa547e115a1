//! Dead letters of elements and combinations that failed permanently (rule 25).

use bytes::Bytes;

use super::{
    blame::TaskRun,
    fold::Partial,
    job::{Elements, JobState},
    protocol::{Action, DeadLettering},
    shared::Shared,
    table::Work,
};
use crate::{dead_letters::DeadElement, error::ExecuteError};

/// Writes a dead letter of an element that failed permanently and did not become a value.
pub(super) fn write(
    shared: &mut Shared,
    job: &JobState,
    run: &TaskRun<'_>,
    element: &Elements,
    error: &ExecuteError,
) {
    if let Work::Run { first_step, .. } = run.task.work {
        let (payload, lengths) = (element.bytes().clone(), element.lengths());
        push(shared, job, run, first_step, payload, lengths, error);
    }
}

/// Writes a dead letter of partial results that could not be combined. They are its elements, and
/// its only step is the last one of the stage.
pub(super) fn write_partials(
    shared: &mut Shared,
    job: &JobState,
    run: &TaskRun<'_>,
    partials: &[Partial],
    error: &ExecuteError,
) {
    let kept = || partials.iter().filter_map(|partial| partial.bytes.as_ref());
    let lengths = kept().map(|bytes| bytes.len() as u32).collect();
    let payload: Vec<u8> = kept().flatten().copied().collect();
    let last = job.plan.stages[run.task.stage].steps.len() - 1;
    push(shared, job, run, last, payload.into(), lengths, error);
}

fn push(
    shared: &mut Shared,
    job: &JobState,
    run: &TaskRun<'_>,
    first_step: usize,
    payload: Bytes,
    lengths: Vec<u32>,
    error: &ExecuteError,
) {
    if job.dead_lettering == DeadLettering::Off {
        return;
    }
    let stage = &job.plan.stages[run.task.stage];
    let steps = stage.steps.iter().skip(first_step).map(|step| step.reference.clone());
    let element = DeadElement {
        pool: stage.pool.clone(),
        steps: steps.collect(),
        payload,
        lengths,
        error: error.clone(),
    };
    shared.actions.push(Action::DeadLetter { element: Box::new(element) });
}
