//! Splits a batch into smaller tasks, to find the element that fails it.

use std::time::Duration;

use super::{
    job::{Batch, JobState},
    schedule,
    shared::Shared,
    table::{Task, Work},
};
use crate::id::TaskNumber;

/// Whether parts of the batch can become separate tasks: it has more than one element, and is not a
/// leaf of a fixed tree.
pub(super) fn may_split(job: &JobState, task: &Task) -> bool {
    match &task.work {
        Work::Run { batch, .. } => batch.halves().is_some() && !job.has_leaves(task.stage),
        Work::Combine { .. } => false,
    }
}

/// Splits a batch in two.
pub(super) fn halve(shared: &mut Shared, job: &mut JobState, number: TaskNumber) {
    let halves = batch(shared, number).and_then(Batch::halves);
    if let Some(halves) = halves {
        split(shared, job, number, halves.map(Some));
    }
}

/// Puts the element at this batch offset into a separate task, whose number is returned. `None` if it
/// is not known which element that is.
pub(super) fn isolate_element(
    shared: &mut Shared,
    job: &mut JobState,
    number: TaskNumber,
    offset: usize,
) -> Option<TaskNumber> {
    let parts = batch(shared, number)?.isolated(offset)?;
    let [_, alone, _] = split(shared, job, number, parts);
    alone
}

fn batch(shared: &Shared, number: TaskNumber) -> Option<&Batch> {
    match &shared.tasks.get(number)?.work {
        Work::Run { batch, .. } => Some(batch),
        Work::Combine { .. } => None,
    }
}

/// Retires a task, and adds new ones for its parts.
fn split<const N: usize>(
    shared: &mut Shared,
    job: &mut JobState,
    number: TaskNumber,
    parts: [Option<Batch>; N],
) -> [Option<TaskNumber>; N] {
    let Some(task) = schedule::retire(shared, job, number) else { return [None; N] };
    let Work::Run { first_step, .. } = task.work else { return [None; N] };
    parts.map(|part| {
        let work = Work::Run { batch: part?, first_step };
        Some(schedule::enqueue(shared, task.with(work), Duration::ZERO))
    })
}
