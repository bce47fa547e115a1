//! Leases: heartbeats of workers about the tasks that they run after settling them (rule 8).

use super::{event::JobEvent, job::JobState, schedule, shared::Shared};
use crate::{id::WorkerId, wire::LeasedTask};

/// A worker renewed its lease of a copy of a task of this job.
pub(super) fn renewed(
    shared: &mut Shared,
    job: &mut JobState,
    worker: WorkerId,
    leased: &LeasedTask,
) {
    let (copy, now) = (leased.copy, shared.clocks.quiet);
    let settings = &shared.settings;
    let charge_of = |task: &_| schedule::charge_of(settings, job, task);
    let Some(change) = shared.tasks.lease(leased, worker, now, charge_of) else {
        return;
    };
    if let Some(charge) = change.charge {
        schedule::charge(shared, job, copy.task, charge);
    }
    if change.first {
        shared.workers.worked(worker);
        let event = JobEvent::TaskLeased { copy, worker };
        shared.emit(job.id, event);
    }
    if change.progressed {
        shared.progressed(job);
    }
}
