//! Tells what will make room for blocks, and which job ends if nothing will (rule 28).

use super::{
    flow::LEAST_CAP,
    job::{JobState, Jobs},
    shared::Shared,
};
use crate::{broker::Pool, error::Error, id::JobId};

/// What makes room without any further block: for each its job, and the pool that it needs. These
/// are the tasks that are out and feed an exchange, whose caps are more than most of them write,
/// and the jobs that read a sealed exchange.
pub(super) fn awaited<'a>(
    shared: &'a Shared,
    jobs: &'a Jobs,
) -> impl Iterator<Item = (JobId, &'a Pool)> {
    let tasks = shared.blocks.expecting().filter_map(|number| shared.tasks.get(number));
    let tasks = tasks.map(|task| (task.job, &task.lane.pool));
    let draining = jobs.iter().filter(|job| !job.has_failed()).filter_map(|job| {
        let stage = job.draining_stage()?;
        Some((job.id, &job.plan.stages[stage].pool))
    });
    tasks.chain(draining)
}

/// Fails a job because nothing makes room for a task of the job `lacking`: the one that holds the
/// most, of those whose exchanges are still fed, if its end makes room; otherwise `lacking` itself.
pub(super) fn fail_one(shared: &mut Shared, jobs: &mut Jobs, lacking: JobId) -> Option<JobId> {
    let growing = jobs.iter().filter(|job| !job.has_failed() && job.fed_exchange().is_some());
    let largest = growing.max_by_key(|job| job.held_blocks()).map(|job| job.id);
    let id = largest.filter(|id| shared.blocks.would_make_room(*id)).unwrap_or(lacking);
    fail(shared, jobs.get_mut(id)?, LEAST_CAP);
    // The others have its room from now on.
    shared.blocks.forget(id);
    Some(id)
}

/// Fails a job whose blocks do not fit, with those that its next task would write.
pub(super) fn fail(shared: &Shared, job: &mut JobState, next: usize) {
    if let Some(limit) = shared.blocks.limit()
        && let Some(exchange) = job.fed_exchange()
    {
        job.fail(Error::ExchangeTooLarge {
            job: job.id,
            directive: job.plan.exchanges[exchange].kind.name(),
            bytes: (job.held_blocks() + next) as u64,
            total: (shared.blocks.held() + next) as u64,
            limit: limit as u64,
        });
    }
}
