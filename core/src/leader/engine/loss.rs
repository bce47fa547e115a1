//! Finds copies that are lost: their lease ran out, or a probe shows that they left the queue without
//! a trace (rules 12 and 13).

use std::{collections::BTreeSet, time::Duration};

use super::{
    event::JobEvent, job::Jobs, protocol::Action, schedule, shared::Shared, table::CopyState,
};
use crate::{
    broker::{BrokerError, Pool, PublishError},
    id::CopyId,
    wire::{ProbeReply, timing},
};

/// Messages on their way to this leader, or in a queue, may be lost.
pub(super) fn interrupted(shared: &mut Shared) {
    let order = shared.probes.next_order();
    for (_, task) in shared.tasks.iter() {
        if task.is_out() {
            shared.probes.of_mut(&task.lane.pool).suspect(order);
        }
    }
}

/// A probe was published, to a queue or (`false`) to none, or not.
pub(super) fn probed(shared: &mut Shared, pool: Pool, result: Result<bool, PublishError>) {
    let probing = shared.probes.of_mut(&pool);
    match result {
        Ok(true) => probing.trouble = None,
        Ok(false) => {
            probing.forget_asked();
            tracing::warn!(%pool, "the task queue does not exist; declaring it again");
            shared.actions.push(Action::Declare { pool });
        }
        Err(error) => {
            probing.forget_asked();
            if !matches!(error, PublishError::Lost) {
                probing.trouble = Some(error.to_string());
            }
        }
    }
}

/// The queue of a pool was declared again, or could not be.
pub(super) fn declared(shared: &mut Shared, pool: &Pool, result: Result<(), BrokerError>) {
    shared.probes.of_mut(pool).trouble = result.err().map(|error| error.to_string());
}

pub(super) fn probe_returned(shared: &mut Shared, reply: &ProbeReply) {
    let now = shared.clocks.quiet;
    shared.probes.came_back(&reply.pool, reply.nonce, now);
}

/// Gives up the copies that are lost, and probes for those that are overdue.
pub(super) fn look_at_copies(shared: &mut Shared, jobs: &mut Jobs) {
    let (now, hold) = (shared.clocks.quiet, shared.settings.hold);
    let lease_timeout = timing::lease_timeout(hold);
    let mut lost = Vec::new();
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
                    lost.push((id, String::from("the broker lost it")));
                }
                CopyState::Queued { order, since } => {
                    if probing.is_overdue(order, since, now, hold) {
                        overdue.insert(pool.clone());
                    }
                }
                CopyState::Leased { worker, renewed, .. } => {
                    if now.saturating_sub(renewed) >= lease_timeout {
                        let text = format!("the lease of worker {worker} expired");
                        lost.push((id, text));
                    }
                }
            }
        }
    }
    for (copy, reason) in lost {
        give_up(shared, jobs, copy, reason);
    }
    if shared.health.is_well() {
        for pool in overdue {
            if let Some(nonce) = shared.probes.ask(&pool, now, hold) {
                shared.actions.push(Action::Probe { pool, nonce });
            }
        }
    }
}

/// A copy is lost. It may have killed its worker, so the next one is isolated (rule 7).
fn give_up(shared: &mut Shared, jobs: &mut Jobs, copy: CopyId, reason: String) {
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
