//! Stages that workers refuse: whether any worker of the pool can run them (rule 10).
//!
//! Refusals are not counted: a task would have to meet every worker, and a busy worker of another
//! build refuses nothing. At the first one, the leader asks all workers for the operations that
//! they have.

use std::{collections::BTreeSet, time::Duration};

use super::{
    job::{JobState, Jobs, RefusedStage},
    shared::Shared,
};
use crate::{
    broker::Pool,
    error::{Error, RefusedError},
    id::{JobId, WorkerId},
    plan::Stage,
    registry::{Refusal, Registry},
    wire::Presence,
};

/// How long workers have, in healthy time, to say that they can run a refused stage.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// After this long, live workers that have not said what they can run are not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A worker refuses a stage: from now on, each `Alive` asks all workers what they can run. None is
/// sent at once: where workers of several builds share a pool, refusals follow each result, and each
/// of them would ask the whole fleet.
pub(super) fn refused(
    shared: &Shared,
    job: &mut JobState,
    stage: usize,
    worker: WorkerId,
    refusal: Refusal,
) {
    let now = shared.clocks.healthy;
    let refused = job.stages[stage].refused.get_or_insert_with(|| RefusedStage::new(now));
    refused.refuse(worker, refusal);
}

/// Whether workers are to list their operations.
pub(super) fn are_open(jobs: &Jobs) -> bool {
    jobs.iter().any(|job| job.stages.iter().any(|stage| stage.refused.is_some()))
}

/// A worker has announced its presence, perhaps with its operations.
pub(super) fn listed(jobs: &mut Jobs, presence: &Presence) {
    let Some(operations) = &presence.operations else { return };
    let mut known = None;
    for job in jobs.iter_mut() {
        for (plan, stage) in job.plan.stages.iter().zip(&mut job.stages) {
            let Some(refused) = &mut stage.refused else { continue };
            if !presence.pools.contains(&plan.pool) {
                continue;
            }
            let known = known.get_or_insert_with(|| {
                let pairs = operations.iter().map(|(name, print)| (name.as_str(), *print));
                pairs.collect::<BTreeSet<_>>()
            });
            let has = |name: &str, print: u64| known.contains(&(name, print));
            let references = plan.steps.iter().map(|step| &step.reference);
            let mut references = references.filter(|it| it.verb.has_operation());
            let lists_all = references.all(|it| has(&it.name, it.fingerprint));
            refused.list(presence.worker, lists_all);
        }
    }
}

/// Fails the jobs of refused stages that no live worker can run; returns their ids.
pub(super) fn look_at_refusals(shared: &Shared, jobs: &mut Jobs) -> Vec<JobId> {
    let now = shared.clocks.healthy;
    let mut failed = Vec::new();
    for job in jobs.iter_mut() {
        let error = job.plan.stages.iter().zip(&job.stages).find_map(|(plan, stage)| {
            let refused = stage.refused.as_ref()?;
            let waited = now.saturating_sub(refused.since());
            if waited < REFUSED_FOR {
                return None;
            }
            let workers = unable(shared, refused, &plan.pool, waited >= LONGEST_WAIT)?;
            Some(error(job.id, plan, refused, workers))
        });
        if let Some(error) = error {
            job.fail(error);
            failed.push(job.id);
        }
    }
    failed
}

/// The number of live workers of the pool, if none of them can run the stage.
fn unable(
    shared: &Shared,
    refused: &RefusedStage,
    pool: &Pool,
    has_waited_long: bool,
) -> Option<usize> {
    let mut unable = 0;
    for worker in shared.workers.serving(pool) {
        match refused.is_unable(worker) {
            Some(true) => unable += 1,
            Some(false) => return None,
            None if has_waited_long => {}
            None => return None,
        }
    }
    (unable > 0).then_some(unable)
}

fn error(job: JobId, plan: &Stage, refused: &RefusedStage, workers: usize) -> Error {
    let references = plan.steps.iter().map(|step| &step.reference);
    let named = references.filter(|it| it.verb.has_operation()).map(|it| it.name.clone());
    let operations: Vec<String> = named.collect();
    let refusals: Vec<_> = refused.refusals().map(|(id, it)| (*id, it.clone())).collect();
    let named = refusals.iter().find_map(|(_, refusal)| refusal.operation()).map(str::to_owned);
    let operation = named.or_else(|| operations.first().cloned()).unwrap_or_default();
    let known = Registry::global().ok().and_then(|registry| registry.get(&operation));
    let structure = known.map(|known| known.structure().to_owned());
    let pool = plan.pool.clone();
    Box::new(RefusedError { job, pool, operation, operations, structure, workers, refusals }).into()
}
