//! Looks, as time passes, at workers that have gone quiet and at jobs that stall.

use std::time::Duration;

use super::{
    event::{JobEvent, Stall},
    job::{JobState, Jobs},
    shared::Shared,
    stall,
};
use crate::{error::Error, id::JobId};

/// Advances the clocks; returns whether a new second has begun.
pub(super) fn advance_clocks(shared: &mut Shared, elapsed: Duration, unread: bool) -> bool {
    let clocks = &mut shared.clocks;
    let before = clocks.wall;
    clocks.wall += elapsed;
    clocks.blocked = match shared.health.blocked {
        Some(_) if shared.health.connected => clocks.blocked + elapsed,
        _ => Duration::ZERO,
    };
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
