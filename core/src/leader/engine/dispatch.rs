//! Publishes tasks and pulls input, as the credit allows (rule 17).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    capacity,
    flow::{Lane, PoolFlow, Sizing},
    job::{Batch, JobState, Jobs},
    protocol::Action,
    schedule,
    shared::Shared,
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
    let mut failed = BTreeSet::new();
    // If a task has no room and nothing will make some, one goes out with what is left, or a job
    // ends so that the others can go on.
    while send_all(shared, jobs, BlockCap::Full, &mut failed).lacking.is_some()
        && capacity::awaited(shared, jobs).next().is_none()
    {
        let round = send_all(shared, jobs, BlockCap::Reduced, &mut failed);
        let Some(lacking) = round.lacking.filter(|_| !round.sent) else { break };
        failed.extend(capacity::fail_one(shared, jobs, lacking));
    }
    for _ in 0..jobs.len() {
        if let Some(job) = jobs.next_turn().and_then(|id| jobs.get_mut(id))
            && !job.has_failed()
        {
            job.sources_to_pull().for_each(|source| pull(shared, job, source));
        }
    }
    failed
}

/// The cap with which a task that feeds an exchange may go out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BlockCap {
    /// That of the exchange.
    Full,
    /// A smaller one, because nothing will make room for that of the exchange.
    Reduced,
}

/// What a job has sent.
enum Sent {
    Task,
    Nothing,
    /// Nothing: there is no room for the blocks of its next task.
    NoRoom,
}

/// What all jobs have sent.
#[derive(Default)]
struct Round {
    sent: bool,
    /// One of the jobs that have no room for the blocks of their next task.
    lacking: Option<JobId>,
}

/// Publishes one task of each job in turn, so that no job waits for all tasks of another, until
/// there is none that may go out.
fn send_all(
    shared: &mut Shared,
    jobs: &mut Jobs,
    cap: BlockCap,
    failed: &mut BTreeSet<JobId>,
) -> Round {
    let mut round = Round::default();
    let mut idle = 0;
    while idle < jobs.len() {
        let Some(job) = jobs.next_turn().and_then(|id| jobs.get_mut(id)) else { break };
        idle += 1;
        match send_one(shared, job, cap) {
            Sent::Task => {
                round = Round { sent: true, lacking: None };
                idle = 0;
            }
            Sent::NoRoom if !job.has_failed() => round.lacking = Some(job.id),
            Sent::NoRoom | Sent::Nothing => {}
        }
        if job.has_failed() {
            failed.insert(job.id);
        }
    }
    round
}

/// Publishes one task of the last stage that has one: a due task, or else a new one of pending
/// elements. A job that has failed publishes nothing more.
fn send_one(shared: &mut Shared, job: &mut JobState, block_cap: BlockCap) -> Sent {
    let mut nothing = Sent::Nothing;
    let plan = Arc::clone(&job.plan);
    for &stage in plan.deepest_first() {
        if job.has_failed() {
            break;
        }
        let due = shared.tasks.first_due(job.id, stage);
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
        if !credit {
            continue;
        }
        if due.is_none() && !has_next(shared, job, stage, &sizing) {
            continue;
        }
        if let Some(cap) = job.block_cap(stage)
            && !shared.blocks.has_room(cap)
            && (block_cap == BlockCap::Full
                || !shared.blocks.has_least_room(job.is_behind_exchange(stage)))
        {
            nothing = Sent::NoRoom;
            continue;
        }
        let number = match due {
            Some(number) => Some(number),
            None => next_task(shared, job, stage, lane, &sizing),
        };
        if let Some(number) = number {
            schedule::send(shared, job, number);
            return Sent::Task;
        }
    }
    nothing
}

/// Whether a task can be cut from the pending elements of a stage.
fn has_next(shared: &Shared, job: &JobState, stage: usize, sizing: &Sizing) -> bool {
    let has_due = |stage| shared.tasks.first_due(job.id, stage).is_some();
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
