//! Combines neighbouring partial results of a fold on workers: the leader runs no operation.

use std::time::Duration;

use bytes::Bytes;

use super::{
    element,
    flow::Lane,
    fold::Partial,
    job::JobState,
    schedule,
    shared::Shared,
    table::{Task, Work},
};
use crate::{
    id::TaskNumber,
    operation::{ErrorKind, OperationError},
    report,
};

/// Combines neighbouring partial results.
pub(super) fn combine(shared: &mut Shared, job: &JobState, partials: Vec<Partial>) {
    let last = job.stages.len() - 1;
    let lane = Lane::of(&job.plan.stages[last]);
    let task = Task::new(job.id, last, lane, Work::Combine { partials });
    schedule::enqueue(shared, task, Duration::ZERO);
}

/// Replaces partial results by their combination.
pub(super) fn done(job: &mut JobState, partials: &[Partial], bytes: Bytes) {
    let (Some(first), Some(last)) = (partials.first(), partials.last()) else { return };
    if let Some(fold) = &mut job.fold {
        fold.insert(Partial::new(first.from, last.to, Some(bytes)));
    }
}

/// Partial results, or their combination, are larger than the broker accepts: combines pairs of
/// them, or fails the job if they are a pair (rule 19).
pub(super) fn too_large(shared: &mut Shared, job: &mut JobState, number: TaskNumber, reason: &str) {
    let Some(task) = shared.tasks.get(number) else { return };
    let Work::Combine { partials } = &task.work else { return };
    if let [_, _, _, ..] = &partials[..]
        && !job.has_leaves(task.stage)
    {
        let Some(task) = schedule::retire(shared, job, number) else { return };
        let Work::Combine { partials } = &task.work else { return };
        for pair in partials.chunks(2) {
            match pair {
                [_, _] => {
                    let work = Work::Combine { partials: pair.to_vec() };
                    schedule::enqueue(shared, task.with(work), Duration::ZERO);
                }
                _ => pair.iter().cloned().for_each(|single| {
                    if let Some(fold) = &mut job.fold {
                        fold.insert(single);
                    }
                }),
            }
        }
        return;
    }
    let sizes: Vec<String> =
        partials.iter().map(|partial| report::number(partial.size(), "byte", "bytes")).collect();
    let text = format!(
        "partial results of {} cannot be combined, because {reason}; raise the limit of the broker, \
         or fold to a smaller value for each key (`reduce_by_key`)",
        sizes.join(" and "),
    );
    element::fail_task(shared, job, number, OperationError::new(ErrorKind::TooLarge, text));
}
