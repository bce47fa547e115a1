//! Splits a batch into smaller tasks, to find the element that fails it.

use std::time::Duration;

use super::{
    job::JobState,
    schedule,
    shared::Shared,
    table::{Task, Work},
};
use crate::id::TaskNumber;

/// Whether parts of the batch can become separate tasks: it has more than one element, and is not a
/// leaf of a fixed tree.
pub(super) fn may_split(job: &JobState, task: &Task) -> bool {
    task.len() > 1 && matches!(task.work, Work::Run { .. }) && !job.has_leaves(task.stage)
}

/// Splits a batch in the middle.
pub(super) fn halve(shared: &mut Shared, job: &mut JobState, number: TaskNumber) {
    if let Some(middle) = shared.tasks.get(number).map(|task| task.len() / 2) {
        split(shared, job, number, &[middle]);
    }
}

/// Puts the element at this batch offset into a separate task, whose number is returned.
pub(super) fn isolate_element(
    shared: &mut Shared,
    job: &mut JobState,
    number: TaskNumber,
    offset: usize,
) -> Option<TaskNumber> {
    let parts = split(shared, job, number, &[offset, offset + 1]);
    parts.get(usize::from(offset > 0)).copied()
}

/// Retires a task, and adds new ones for its parts, cut at these batch offsets.
fn split(
    shared: &mut Shared,
    job: &mut JobState,
    number: TaskNumber,
    cuts: &[usize],
) -> Vec<TaskNumber> {
    let mut parts = Vec::new();
    let Some(task) = schedule::retire(shared, job, number) else { return parts };
    let Work::Run { elements, first_step } = &task.work else { return parts };
    let mut from = 0;
    for to in cuts.iter().copied().chain([elements.len()]) {
        let to = to.min(elements.len());
        if from < to {
            let elements = elements.slice(from..to);
            let work = Work::Run { elements, first_step: *first_step };
            parts.push(schedule::enqueue(shared, task.with(work), Duration::ZERO));
            from = to;
        }
    }
    parts
}
