//! Dead letters of elements and combinations that failed permanently (rule 25).

use bytes::Bytes;

use super::{
    blame::TaskRun,
    fold::Partial,
    job::{Batch, JobState},
    protocol::{Action, DeadLettering},
    shared::Shared,
    table::Work,
};
use crate::{
    codec::Layout, dead_letters::DeadElement, error::ExecuteError, plan::StepPlan, registry::Verb,
};

/// Writes a dead letter of an element that failed permanently and did not become a value. An element
/// that the leader has never seen has none: it was read from an exchange, or its key is framed.
pub(super) fn write(
    shared: &mut Shared,
    job: &JobState,
    run: &TaskRun<'_>,
    element: &Batch,
    error: &ExecuteError,
) {
    if let Work::Run { first_step, .. } = run.task.work
        && let Batch::Elements(element) = element
        && job.plan.layout(run.task.stage) == Layout::Plain
    {
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
    // What combines values by key runs in a program with an exchange alone.
    let by_key =
        |step: &&StepPlan| matches!(step.reference.verb, Verb::FoldByKey | Verb::ReduceByKey);
    let steps = stage.steps.iter().skip(first_step).filter(|step| !by_key(step));
    let steps = steps.map(|step| step.reference.clone());
    let element = DeadElement {
        pool: stage.pool.clone(),
        steps: steps.collect(),
        payload,
        lengths,
        error: error.clone(),
    };
    shared.actions.push(Action::DeadLetter { element: Box::new(element) });
}
