//! Publishes tasks and pulls input, as the credit allows (rule 17).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    flow::{Lane, PoolFlow, Sizing},
    job::{Batch, JobState, Jobs},
    output_queues,
    protocol::Action,
    schedule,
    shared::Shared,
    spread,
    table::{Task, Work},
};
use crate::{
    broker::PublishError,
    error::Error,
    id::{JobId, TaskNumber},
    wire::MAX_MESSAGE_BYTES,
};

/// The largest encoded input of one pull, in bytes: two copies of it exist while it is passed to
/// the engine.
const MAX_PULL_BYTES: usize = 1 << 20;

/// Publishes tasks, one of each job in turn: first those whose back-off is over, then new ones.
/// Then pulls input. Returns the jobs that fail because one of their tasks cannot be published.
pub(super) fn dispatch(shared: &mut Shared, jobs: &mut Jobs) -> BTreeSet<JobId> {
    while let Some(number) = shared.tasks.pop_ready(shared.clocks.healthy) {
        let Some(task) = shared.tasks.get(number) else { continue };
        // A combination reduces the bytes that a fold holds, so it needs no credit (rule 17).
        if matches!(task.work, Work::Combine { .. })
            && let Some(job) = jobs.get_mut(task.job)
        {
            schedule::send(shared, job, number);
        }
    }
    let failed = send_all(shared, jobs);
    for _ in 0..jobs.len() {
        if let Some(job) = jobs.next_turn().and_then(|id| jobs.get_mut(id))
            && !job.has_failed()
        {
            job.sources_to_pull().for_each(|source| pull(shared, job, source));
        }
    }
    failed
}

/// Publishes one task of each job in turn, so that no job waits for all tasks of another, until
/// there is none that may go out. Returns the jobs that fail.
fn send_all(shared: &mut Shared, jobs: &mut Jobs) -> BTreeSet<JobId> {
    let mut failed = BTreeSet::new();
    let mut idle = 0;
    while idle < jobs.len() {
        let Some(job) = jobs.next_turn().and_then(|id| jobs.get_mut(id)) else { break };
        idle = if send_one(shared, job) { 0 } else { idle + 1 };
        if job.has_failed() {
            failed.insert(job.id);
        }
    }
    failed
}

/// Publishes one task of the last stage that has one: a due task, or else a new one of pending
/// elements. A job that has failed publishes nothing more. Returns whether there was one.
fn send_one(shared: &mut Shared, job: &mut JobState) -> bool {
    let plan = Arc::clone(&job.plan);
    for &stage in plan.deepest_first() {
        if job.has_failed() {
            break;
        }
        let due = first_due(shared, job, stage);
        if due.is_none() && !job.stages[stage].has_pending() {
            continue;
        }
        let sizing = shared.sizing(job, stage);
        let lane = Lane::of(&job.plan.stages[stage]);
        // Each job may have one task out without credit: the tasks that use up the credit may take
        // hours, or be lost.
        let credit = job.stages[stage].tasks_out() == 0
            || shared
                .flows
                .get(&lane)
                .is_none_or(|flow| flow.has_credit(&sizing, shared.clocks.healthy));
        if !credit
            || (due.is_none() && !has_next(shared, job, stage, &sizing))
            || !spread::make_room(shared, job, stage, sizing.slots)
        {
            continue;
        }
        let number = match due {
            Some(number) => Some(number),
            None => next_task(shared, job, stage, lane, &sizing),
        };
        if let Some(number) = number {
            schedule::send(shared, job, number);
            return true;
        }
    }
    false
}

/// The oldest task of a stage that waits for credit, of those whose queues no other task reads, and
/// which have the queues that they write to.
fn first_due(shared: &Shared, job: &JobState, stage: usize) -> Option<TaskNumber> {
    let may_go = |number: &TaskNumber| {
        let task = shared.tasks.get(*number);
        task.is_some_and(|task| job.may_read(task) && output_queues::may_write(job, *number, task))
    };
    shared.tasks.due(job.id, stage).find(may_go)
}

/// Whether a task can be cut from the pending elements of a stage.
fn has_next(shared: &Shared, job: &JobState, stage: usize, sizing: &Sizing) -> bool {
    let has_due = |stage| shared.tasks.due(job.id, stage).next().is_some();
    let is_ready = job.read_by(stage).is_some() || job.is_ready(stage, sizing.elements(), sizing);
    is_ready && !job.is_full(stage, has_due)
}

/// Cuts a task from the pending elements of a stage, which has a batch ready.
fn next_task(
    shared: &mut Shared,
    job: &mut JobState,
    stage: usize,
    lane: Lane,
    sizing: &Sizing,
) -> Option<TaskNumber> {
    if job.read_by(stage).is_some() {
        let batch = Batch::Partitions(job.cut_lists(stage, sizing.slots)?);
        let task = Task::new(job.id, stage, lane, Work::Run { batch, first_step: 0 });
        return Some(schedule::enqueue(shared, task, Duration::ZERO));
    }
    if let Some(size) = job.oversized_leaf(stage) {
        fail_leaf(job, stage, size);
        return None;
    }
    let batch = Batch::Elements(job.cut(stage, sizing.elements(), sizing.bytes())?);
    let task = Task::new(job.id, stage, lane, Work::Run { batch, first_step: 0 });
    Some(schedule::enqueue(shared, task, Duration::ZERO))
}

/// Fails a job because its next leaf, which cannot be split, is larger than the largest message.
fn fail_leaf(job: &mut JobState, stage: usize, size: u64) {
    let steps = job.plan.stages[stage].steps.first();
    let operation = steps.map(|step| step.reference.name.clone()).unwrap_or_default();
    let index = job.stages[stage].pending().front().map_or(0, |elements| elements.index(0));
    let source = PublishError::TooLarge { size, limit: MAX_MESSAGE_BYTES as u64 };
    // No fold of fixed shape is behind an exchange.
    job.fail(Error::Submit { job: job.id, operation, index, group: None, source });
}

/// Requests more input from a source if the job has room for it.
fn pull(shared: &mut Shared, job: &mut JobState, source: usize) {
    if job.sources[source].pulling || job.sources[source].ended {
        return;
    }
    let stage = job.plan.fed_by(source);
    let state = &job.stages[stage];
    let room = job.account.room();
    if job.plan.stages[stage].steps.is_empty() && !job.feeds(stage) {
        // Elements are their own outputs: only the reader limits them.
        if room > 0 {
            request_pull(shared, job, source, u64::MAX, room.min(MAX_PULL_BYTES));
        }
        return;
    }
    let sizing = shared.sizing(job, stage);
    let batch = sizing.elements();
    // An idle job may always pull one batch; otherwise a job of huge elements would never progress.
    let idle = shared.tasks.of(job.id).next().is_none() && job.account.undelivered() == 0;
    let starved = idle && !job.is_ready(stage, batch, &sizing);
    if room == 0 && !starved {
        return;
    }
    let unused = PoolFlow::default();
    let flow = shared.flows.get(&Lane::of(&job.plan.stages[stage])).unwrap_or(&unused);
    let limit = flow.limit(&sizing, shared.clocks.healthy);
    let free = u64::from(limit.saturating_sub(flow.tasks));
    // As many batches as may go out now, and one more for the next credit.
    let elements = batch.saturating_mul(free + 1).saturating_sub(state.pending_elements());
    // A leaf is never split, whatever its size.
    let full =
        if job.has_leaves(stage) { usize::MAX } else { sizing.bytes() * (free as usize + 1) };
    if elements == 0 || state.pending_bytes() >= full {
        return;
    }
    let room = if starved { room.max(sizing.bytes()) } else { room };
    request_pull(shared, job, source, elements, room.min(MAX_PULL_BYTES).min(full));
}

fn request_pull(
    shared: &mut Shared,
    job: &mut JobState,
    source: usize,
    elements: u64,
    bytes: usize,
) {
    job.sources[source].pulling = true;
    shared.actions.push(Action::Pull { job: job.id, source, elements, bytes });
}
