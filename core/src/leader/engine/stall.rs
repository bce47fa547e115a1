//! Determines why a job makes no progress.

use std::time::Duration;

use super::{
    blame,
    event::Stall,
    job::JobState,
    shared::Shared,
    table::{CopyState, Task, TaskCopy, TaskState},
};

/// The cause of a stall; the job has made no progress for the time `waited`.
pub(super) fn cause(shared: &Shared, job: &JobState, waited: Duration) -> Stall {
    if !shared.health.connected {
        return Stall::Disconnected;
    }
    if let Some(reason) = &shared.health.blocked {
        return Stall::Blocked { reason: reason.clone() };
    }
    let tasks = || shared.tasks.of(job.id).map(|(_, task)| task);
    if let Some(task) = tasks().find(|task| !task.refusals.is_empty()) {
        let (operation, _) = blame::first(job, task);
        let last = task.refusals.values().max_by_key(|(first, _)| *first);
        return Stall::Refused {
            operation,
            workers: task.refusals.len(),
            reason: last.map(|(_, refusal)| refusal.to_string()).unwrap_or_default(),
        };
    }
    // Numbers increase: the first is the oldest.
    if let Some(oldest) = tasks().find(|task| task.is_out()) {
        return cause_at_task(shared, job, oldest, waited);
    }
    let until = |task: &Task| match task.state() {
        TaskState::Waiting { until } => Some(until),
        _ => None,
    };
    if let Some(next) = tasks().filter_map(until).min() {
        let tasks = tasks().count() as u32;
        let retry_in = next.saturating_sub(shared.clocks.healthy);
        return Stall::BackingOff { tasks, retry_in };
    }
    match job.account.undelivered() {
        0 => Stall::InputSlow,
        bytes => Stall::ReaderSlow { bytes },
    }
}

/// The cause of a stall while this task, the oldest of the job, is out.
fn cause_at_task(shared: &Shared, job: &JobState, task: &Task, waited: Duration) -> Stall {
    let pool = task.lane.pool.clone();
    let out = |(_, other): &(_, &Task)| other.is_out() && other.lane.pool == pool;
    let tasks = shared.tasks.of(job.id).filter(out).count() as u32;
    if let Some(worker) = task.copies().iter().find_map(TaskCopy::holder) {
        let (operation, index) = blame::first(job, task);
        return Stall::Running { operation, index, worker, waited };
    }
    let probing = shared.probes.of(&pool);
    if let Some(reason) = probing.and_then(|probing| probing.error.clone()) {
        return Stall::QueueGone { pool, reason };
    }
    if shared.workers.serving(&pool).next().is_none() {
        return Stall::NoWorkers { pool, tasks };
    }
    let newest = task.copies().iter().filter_map(|copy| match copy.state {
        CopyState::Queued { order, .. } => Some(order),
        _ => None,
    });
    if let (Some(probing), Some(order)) = (probing, newest.max()) {
        let (now, hold) = (shared.clocks.quiet, shared.settings.hold);
        if let Some(reissue_in) = probing.lost_in(order, now, hold) {
            return Stall::Missing { pool, tasks, reissue_in };
        }
        if probing.is_in_flight() {
            return Stall::Queued { pool, tasks };
        }
    }
    Stall::NoReply { pool, tasks, waited }
}
