//! Dead letters of elements and combinations that failed permanently (rule 25).

use bytes::Bytes;

use super::{
    blame::TaskRun,
    fold::Partial,
    groups,
    job::{Batch, JobState},
    protocol::{Action, DeadLettering},
    shared::Shared,
    table::Work,
};
use crate::{
    dead_letters::DeadElement,
    error::ExecuteError,
    plan::Outlet,
    registry::{Sample, StepReference},
    wire::LeftOut,
};

/// Writes a dead letter of the element at this batch offset, which failed permanently and did not
/// become a value.
pub(super) fn write(
    shared: &mut Shared,
    job: &mut JobState,
    run: &TaskRun<'_>,
    batch: &Batch,
    offset: usize,
    error: &ExecuteError,
) {
    let Work::Run { first_step, .. } = run.task.work else { return };
    let content = match batch {
        _ if job.dead_lettering == DeadLettering::Off => return,
        Batch::Elements(elements) => {
            let element = elements.slice(offset..offset + 1);
            Some((element.bytes().clone(), element.lengths()))
        }
        Batch::Partitions(_) => groups::encoding(job, run.task.stage, batch, offset),
    };
    push(shared, job, run, (first_step, batch.index(offset)), content, error);
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
    let index = partials.first().map_or(0, |partial| partial.from);
    push(shared, job, run, (last, index), Some((payload.into(), lengths)), error);
}

/// A step as it is to run on an element that is replayed, and had this index.
fn as_in_job(step: &StepReference, index: u64) -> StepReference {
    let mut step = step.clone();
    if let Ok(Some(sample)) = Sample::of(&step) {
        step.state = sample.pinned_to(index).state();
    }
    step
}

/// Writes a dead letter of elements with these encodings and lengths; without elements if they are
/// not known. `index` is that of the first.
fn push(
    shared: &mut Shared,
    job: &JobState,
    run: &TaskRun<'_>,
    (first_step, index): (usize, u64),
    content: Option<(Bytes, Vec<u32>)>,
    error: &ExecuteError,
) {
    if job.dead_lettering == DeadLettering::Off {
        return;
    }
    let stage = &job.plan.stages[run.task.stage];
    // What combines the outputs by key runs in a program with an exchange alone.
    let combines_outputs = match job.plan.outlet(run.task.stage) {
        Outlet::Exchange { exchange, .. } => job.plan.exchanges[exchange].kind.has_steps(),
        Outlet::Stage(_) | Outlet::End(_) => false,
    };
    let end = stage.steps.len() - usize::from(combines_outputs);
    let steps = stage.steps.get(first_step..end).unwrap_or_default();
    let left_out = content.is_none().then_some(LeftOut::NotGathered);
    let (payload, lengths) = content.unwrap_or_default();
    let element = DeadElement {
        pool: stage.pool.clone(),
        steps: steps.iter().map(|step| as_in_job(&step.reference, index)).collect(),
        payload,
        lengths,
        left_out,
        error: error.clone(),
    };
    shared.actions.push(Action::DeadLetter { element: Box::new(element) });
}
