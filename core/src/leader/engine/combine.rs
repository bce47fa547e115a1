//! Combines neighbouring partial results of a fold, on a worker or on the leader.

use std::time::Duration;

use bytes::Bytes;

use super::{
    blame::TaskRun,
    element,
    flow::Lane,
    fold::Partial,
    job::JobState,
    protocol::Action,
    schedule,
    shared::Shared,
    table::{Task, Work},
};
use crate::{id::TaskNumber, operation::OperationError};

/// Partial results below this size, in bytes, are combined on the leader: a message would cost
/// more.
const SMALL_PARTIAL: usize = 4 << 10;
/// Small partial results are combined on the leader only if combining two takes less than this;
/// slower combinations run on workers.
const QUICK: Duration = Duration::from_micros(100);
/// Partial results of more than this size together, in bytes, are combined on the leader: not every
/// broker accepts a message of that size.
const LARGE_COMBINATION: usize = 8 << 20;

/// Combines neighbouring partial results: on the leader, or as a task for workers.
pub(super) fn combine(shared: &mut Shared, job: &mut JobState, partials: Vec<Partial>) {
    let last = job.stages.len() - 1;
    let sizes = || partials.iter().filter_map(|partial| partial.bytes.as_ref()).map(Bytes::len);
    let small = sizes().all(|size| size < SMALL_PARTIAL);
    let quick = job.stages[last].cost.per_element().is_some_and(|cost| cost < QUICK);
    if (small && quick) || sizes().sum::<usize>() > LARGE_COMBINATION {
        combine_on_leader(shared, job, partials);
        return;
    }
    let task = task_of(job, partials);
    schedule::enqueue(shared, task, Duration::ZERO);
}

/// Combines the partial results of a task on the leader, because they do not fit into a message.
pub(super) fn combine_here(shared: &mut Shared, job: &mut JobState, number: TaskNumber) {
    let Some(task) = schedule::retire(shared, job, number) else { return };
    if let Work::Combine { partials } = task.work {
        combine_on_leader(shared, job, partials);
    }
}

/// A combination on the leader has ended.
pub(super) fn combined(
    shared: &mut Shared,
    job: &mut JobState,
    combination: u64,
    result: Result<Bytes, OperationError>,
) {
    shared.progressed(job);
    let Some(partials) = job.combining.remove(&combination) else { return };
    match result {
        Ok(bytes) => done(job, &partials, bytes),
        Err(error) => {
            // Errors name a task: this one gets a number for that purpose, and is never published.
            let task = task_of(job, partials.clone());
            let number = schedule::enqueue(shared, task, Duration::ZERO);
            let Some(task) = schedule::retire(shared, job, number) else { return };
            let run = TaskRun { number, task: &task, attempt: 0, worker: None };
            element::combination_failed(shared, job, &run, partials, error);
        }
    }
}

/// Replaces partial results by their combination.
pub(super) fn done(job: &mut JobState, partials: &[Partial], bytes: Bytes) {
    let (Some(first), Some(last)) = (partials.first(), partials.last()) else { return };
    job.largest_partial = job.largest_partial.max(bytes.len());
    if let Some(fold) = &mut job.fold {
        fold.insert(Partial::new(first.from, last.to, Some(bytes)));
    }
}

fn combine_on_leader(shared: &mut Shared, job: &mut JobState, partials: Vec<Partial>) {
    let last = job.stages.len() - 1;
    let Some(step) = job.plan.stages[last].steps.last() else { return };
    let combination = job.next_combination;
    job.next_combination += 1;
    shared.actions.push(Action::Combine {
        job: job.id,
        combination,
        step: Box::new(step.reference.clone()),
        partials: partials.iter().filter_map(|partial| partial.bytes.clone()).collect(),
    });
    job.combining.insert(combination, partials);
}

fn task_of(job: &JobState, partials: Vec<Partial>) -> Task {
    let last = job.stages.len() - 1;
    Task::new(job.id, last, Lane::of(&job.plan.stages[last]), Work::Combine { partials })
}
