//! Fails jobs as time passes: those whose tasks every worker refuses, and those that stall.

use std::time::Duration;

use super::{
    blame,
    event::{JobEvent, Stall},
    job::{JobState, Jobs},
    shared::Shared,
    stall,
};
use crate::{error::Error, id::JobId};

/// The time after which a job fails if every live worker refuses one of its tasks (rule 10).
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// Advances the clocks; returns whether a new second has begun.
pub(super) fn advance_clocks(shared: &mut Shared, elapsed: Duration, unread: bool) -> bool {
    let clocks = &mut shared.clocks;
    let before = clocks.wall;
    clocks.wall += elapsed;
    if shared.health.is_well() {
        clocks.healthy += elapsed;
        // The absence of a reply proves a loss only if no reply is unread.
        if !unread {
            clocks.quiet += elapsed;
        }
    }
    before.as_secs() != clocks.wall.as_secs()
}

/// Forgets the workers that have not been heard from, and reports those that have run something to
/// the jobs of their pools.
pub(super) fn look_at_workers(shared: &mut Shared, jobs: &Jobs) {
    for lost in shared.workers.forget_expired(shared.clocks.healthy) {
        let (worker, name) = (lost.worker, lost.name);
        tracing::warn!(%worker, name, "a worker has not been heard from; it is dead or cut off");
        let uses =
            |job: &&JobState| job.plan.stages.iter().any(|stage| lost.pools.contains(&stage.pool));
        for job in jobs.iter().filter(uses) {
            shared.emit(job.id, JobEvent::WorkerLost { worker, name: name.clone() });
        }
    }
}

/// Fails the jobs of tasks that every live worker has refused for [`REFUSED_FOR`]; returns their
/// ids.
pub(super) fn look_at_refusals(shared: &mut Shared, jobs: &mut Jobs) -> Vec<JobId> {
    let now = shared.clocks.healthy;
    let numbers: Vec<_> = shared.tasks.refused().collect();
    let mut failed = Vec::new();
    for number in numbers {
        let Some(task) = shared.tasks.get_mut(number) else { continue };
        let pool = &task.lane.pool;
        // The refusals of dead workers do not count, and are dropped.
        task.refusals.retain(|worker, _| shared.workers.is_serving(*worker, pool));
        let mut live = shared.workers.serving(pool).map(|id| task.refusals.get(&id)).peekable();
        let refused_long = |refusal: Option<&(Duration, _)>| {
            refusal.is_some_and(|(first, _)| now.saturating_sub(*first) >= REFUSED_FOR)
        };
        if live.peek().is_none() || !live.all(refused_long) {
            continue;
        }
        if let Some(job) = jobs.get_mut(task.job) {
            let (operation, _) = blame::first(job, task);
            let refusals =
                task.refusals.iter().map(|(id, (_, refusal))| (*id, refusal.clone())).collect();
            job.fail(Error::Refused { job: job.id, operation, refusals });
            failed.push(job.id);
        }
    }
    failed
}

/// The stall of a job that has made no progress for the time `waited`, and how long it has lasted.
fn stall_of(
    shared: &Shared,
    job: &mut JobState,
    waited: Duration,
    report_after: Duration,
) -> Option<(Stall, Duration)> {
    // Without a connection nothing is lost, and nothing can be quick.
    if shared.health.is_well()
        && let Some((stall, since)) = stall::losing(shared, job)
    {
        return Some((stall, waited.max(shared.clocks.wall.saturating_sub(since))));
    }
    if waited >= report_after {
        return Some((stall::cause(shared, job, waited), waited));
    }
    // A job that crawls does not end by that.
    stall::crawl(shared, job).map(|stall| (stall, Duration::ZERO))
}

/// Reports the jobs that make no progress, and fails those whose patience is over; returns the ids
/// of the latter.
pub(super) fn look_at_stalls(shared: &mut Shared, jobs: &mut Jobs) -> Vec<JobId> {
    let patience = shared.settings.patience;
    let report_after = shared.settings.stall_after.min(patience.unwrap_or(Duration::MAX));
    let ids: Vec<JobId> = jobs.ids().collect();
    let mut failed = Vec::new();
    for id in ids {
        let Some(job) = jobs.get_mut(id) else { continue };
        let waited = shared.clocks.wall.saturating_sub(job.last_progress);
        let Some((stall, lasted)) = stall_of(shared, job, waited, report_after) else {
            if job.stall.take_if(|stall| stall.outlasts_progress()).is_some() {
                shared.emit(id, JobEvent::Resumed);
            }
            continue;
        };
        let patience_is_over = patience.is_some_and(|patience| lasted >= patience);
        if patience_is_over && !stall.is_caused_by_program() {
            job.fail(Error::Stalled { job: id, cause: stall.to_string() });
            failed.push(id);
            continue;
        }
        let known = job.stall.as_ref().map(std::mem::discriminant);
        if known != Some(std::mem::discriminant(&stall)) {
            tracing::warn!(job = %id, cause = %stall, "job stalled");
            job.stall = Some(stall.clone());
            shared.emit(id, JobEvent::Stalled(stall));
        }
    }
    failed
}
