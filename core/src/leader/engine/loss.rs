//! Detects lost copies: their lease expired, or a probe proves that they left their queue without a
//! reply (rules 12 and 13).

use std::{collections::BTreeSet, time::Duration};

use super::{
    event::JobEvent, gone, job::Jobs, protocol::Action, schedule, shared::Shared, stall,
    table::CopyState,
};
use crate::{
    broker::{BrokerError, Pool, PublishError},
    id::{CopyId, JobId},
    wire::{ProbeReply, timing},
};

/// The connection was interrupted: copies in queues, and replies to them, may be lost.
pub(super) fn interrupted(shared: &mut Shared) {
    let order = shared.probes.next_order();
    for (_, task) in shared.tasks.iter() {
        if task.is_out() {
            shared.probes.of_mut(&task.lane.pool).suspect(order);
        }
    }
}

/// A probe was published (`true`: its queue exists), or could not be.
pub(super) fn probed(shared: &mut Shared, pool: Pool, result: Result<bool, PublishError>) {
    let probing = shared.probes.of_mut(&pool);
    match result {
        Ok(true) => probing.error = None,
        Ok(false) => {
            probing.forget_in_flight();
            tracing::warn!(%pool, "the task queue does not exist; declaring it again");
            shared.actions.push(Action::Declare { pool });
        }
        Err(error) => {
            probing.forget_in_flight();
            if !matches!(error, PublishError::Lost) {
                probing.error = Some(error.to_string());
            }
        }
    }
}

/// The queue of a pool was declared again, or could not be.
pub(super) fn declared(shared: &mut Shared, pool: &Pool, result: Result<(), BrokerError>) {
    shared.probes.of_mut(pool).error = result.err().map(|error| error.to_string());
}

pub(super) fn probe_returned(shared: &mut Shared, reply: &ProbeReply) {
    let now = shared.clocks.quiet;
    shared.probes.returned(&reply.pool, reply.nonce, now);
}

/// Removes the copies that are lost, and probes the queues of those that are overdue. Returns the
/// jobs of which an element was charged.
pub(super) fn look_at_copies(shared: &mut Shared, jobs: &mut Jobs) -> Vec<JobId> {
    let (now, hold) = (shared.clocks.quiet, shared.settings.hold);
    let lease_timeout = timing::lease_timeout(hold);
    let mut lost = Vec::new();
    let mut expired = Vec::new();
    let mut killed = Vec::new();
    let mut overdue = BTreeSet::new();
    for (number, task) in shared.tasks.iter() {
        if task.copies().is_empty() {
            continue;
        }
        let pool = &task.lane.pool;
        let probing = shared.probes.of_mut(pool);
        let lost_before = probing.lost_before(now, hold);
        for copy in task.copies() {
            let id = CopyId::new(number, copy.attempt);
            match copy.state {
                CopyState::Publishing => {}
                CopyState::Queued { order, .. } if order < lost_before => {
                    lost.push(id);
                }
                CopyState::Queued { order, since } => {
                    if probing.is_overdue(order, since, now, hold) {
                        overdue.insert(pool.clone());
                    }
                }
                CopyState::Leased { worker, renewed, offset, in_process } => {
                    if now.saturating_sub(renewed) < lease_timeout {
                        continue;
                    }
                    match in_process {
                        true => killed.push((id, offset, worker)),
                        false => {
                            let text = format!("the lease of worker {worker} expired");
                            expired.push((id, text));
                        }
                    }
                }
            }
        }
    }
    for copy in lost {
        count_loss(shared, jobs, copy);
        declare_lost(shared, jobs, copy, String::from("the broker lost the copy"));
    }
    for (copy, reason) in expired {
        declare_lost(shared, jobs, copy, reason);
    }
    let mut charged = Vec::new();
    for (copy, offset, worker) in killed {
        let Some(id) = shared.tasks.get(copy.task).map(|task| task.job) else { continue };
        let Some(job) = jobs.get_mut(id) else { continue };
        tracing::warn!(job = %id, %copy, offset, %worker, "a worker died of an element");
        gone::killed_worker(shared, job, copy.task, offset, worker);
        charged.push(id);
    }
    if shared.health.is_well() {
        for pool in overdue {
            if let Some(nonce) = shared.probes.probe(&pool, now, hold) {
                shared.actions.push(Action::Probe { pool, nonce });
            }
        }
    }
    charged
}

/// Counts a round of losses of a task. One can happen; a task that is lost again and again will
/// always be.
fn count_loss(shared: &mut Shared, jobs: &mut Jobs, copy: CopyId) {
    let Some(task) = shared.tasks.get_mut(copy.task) else { return };
    task.lost += 1;
    if task.lost >= stall::ROUNDS_OF_LOSSES
        && let Some(job) = jobs.get_mut(task.job)
    {
        job.losing_since.get_or_insert(shared.clocks.wall);
    }
}

/// Removes a lost copy. It may have killed its worker, so the next one is isolated (rule 7).
fn declare_lost(shared: &mut Shared, jobs: &mut Jobs, copy: CopyId, reason: String) {
    let Some(task) = shared.tasks.get_mut(copy.task) else { return };
    task.isolated = true;
    let (id, attempt) = (task.job, task.attempt() + 1);
    if !shared.tasks.remove_copy(copy) {
        return;
    }
    tracing::warn!(job = %id, %copy, reason, "a copy of a task is lost; reissuing the task");
    let event = JobEvent::TaskReissued { copy: CopyId::new(copy.task, attempt), reason };
    shared.emit(id, event);
    if let Some(job) = jobs.get_mut(id) {
        schedule::reissue(shared, job, copy.task, Duration::ZERO);
    }
}
