//! Why a job makes no progress.

use std::time::Duration;

use super::{
    blame,
    event::Stall,
    job::JobState,
    shared::Shared,
    table::{CopyState, Task, TaskCopy, TaskState},
};

/// What a job waits for, after no progress for `silent`.
pub(super) fn cause(shared: &Shared, job: &JobState, silent: Duration) -> Stall {
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
        return cause_of(shared, job, oldest, silent);
    }
    let until = |task: &Task| match task.state() {
        TaskState::Waiting { until } => Some(until),
        _ => None,
    };
    if let Some(next) = tasks().filter_map(until).min() {
        let tasks = tasks().count() as u32;
        return Stall::BackingOff { tasks, next: next.saturating_sub(shared.clocks.healthy) };
    }
    match job.account.undelivered() {
        0 => Stall::InputSlow,
        bytes => Stall::ReaderSlow { bytes },
    }
}

/// Why no reply comes to a task that is out.
fn cause_of(shared: &Shared, job: &JobState, task: &Task, silent: Duration) -> Stall {
    let pool = task.lane.pool.clone();
    let out = |(_, other): &(_, &Task)| other.is_out() && other.lane.pool == pool;
    let tasks = shared.tasks.of(job.id).filter(out).count() as u32;
    if let Some(worker) = task.copies().iter().find_map(TaskCopy::holder) {
        let (operation, index) = blame::first(job, task);
        return Stall::Running { operation, index, worker, silent };
    }
    let probing = shared.probes.of(&pool);
    if let Some(reason) = probing.and_then(|probing| probing.trouble.clone()) {
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
        if let Some(again) = probing.lost_in(order, now, hold) {
            return Stall::Missing { pool, tasks, again };
        }
        if probing.is_asking() {
            return Stall::Queued { pool, tasks };
        }
    }
    Stall::NoReply { pool, tasks, silent }
}
