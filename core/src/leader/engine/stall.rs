//! Determines why a job makes no progress.

use std::time::Duration;

use super::{
    blame,
    event::Stall,
    flow::Lane,
    groups::ElementName,
    job::JobState,
    shared::Shared,
    table::{CopyState, Task, TaskCopy, TaskState},
};

/// A task that was lost this often in a row, and a probe that did not come back this often, is not
/// lost by chance.
pub(super) const ROUNDS_OF_LOSSES: u32 = 2;
/// A stage crawls if it gets less than this part of its best done: a tenth. One that is known to
/// crawl goes on crawling until it gets a fifth done, so that events do not alternate.
const CRAWLS_BELOW: u64 = 10;
const CRAWLED_BELOW: u64 = 5;

/// The stall of a job whose tasks are lost again and again, and since when they are, in wall time.
pub(super) fn losing(shared: &Shared, job: &mut JobState) -> Option<(Stall, Duration)> {
    let since = job.losing_since?;
    let tasks = || shared.tasks.of(job.id).map(|(_, task)| task);
    let losing = || tasks().filter(|task| task.lost >= ROUNDS_OF_LOSSES);
    let Some(oldest) = losing().next() else {
        job.losing_since = None;
        return None;
    };
    let pool = oldest.lane.pool.clone();
    let tasks = losing().filter(|task| task.lane.pool == pool).count() as u32;
    let rounds = losing().map(|task| task.lost).max().unwrap_or(ROUNDS_OF_LOSSES);
    Some((Stall::Losing { pool, tasks, rounds }, since))
}

/// The stall of a job that makes progress at a small part of its best rate, although tasks are out
/// and slots are free.
pub(super) fn crawl(shared: &Shared, job: &mut JobState) -> Option<Stall> {
    let now = shared.clocks.healthy;
    let crawled = matches!(job.stall, Some(Stall::Crawling { .. }));
    let part = if crawled { CRAWLED_BELOW } else { CRAWLS_BELOW };
    for stage in 0..job.stages.len() {
        let Some(recent) = job.stages[stage].rate.recent(now) else { continue };
        if recent.done.elements.saturating_mul(part) >= recent.best {
            continue;
        }
        let lane = Lane::of(&job.plan.stages[stage]);
        let (mut tasks, mut leased) = (0, 0);
        for (_, task) in shared.tasks.iter().filter(|(_, task)| task.lane == lane) {
            if task.copies().iter().any(|copy| copy.holder().is_some()) {
                leased += 1;
            } else if task.is_out() && task.job == job.id && task.stage == stage {
                tasks += 1;
            }
        }
        let slots = shared.workers.slots(&lane.pool, lane.is_async).saturating_sub(leased);
        // Fewer tasks than free slots may all be running. And slower elements than before, which
        // keep the slots busy, are no reason to complain.
        let busy = recent.length.saturating_mul(slots) / part as u32;
        if slots == 0 || tasks < slots || recent.done.busy >= busy {
            continue;
        }
        let (done, best, length) = (recent.done.elements, recent.best, recent.length);
        return Some(Stall::Crawling { pool: lane.pool, done, best, length, tasks, slots });
    }
    None
}

/// The cause of a stall; the job has made no progress for the time `waited`.
pub(super) fn cause(shared: &Shared, job: &JobState, waited: Duration) -> Stall {
    if !shared.health.connected {
        return Stall::Disconnected { reason: shared.health.lost_because().to_owned() };
    }
    if let Some(reason) = &shared.health.blocked {
        return Stall::Blocked { reason: reason.clone() };
    }
    let tasks = || shared.tasks.of(job.id).map(|(_, task)| task);
    let stages = job.plan.stages.iter().zip(&job.stages);
    let refused =
        stages.filter_map(|(plan, stage)| Some((plan, stage.refused.as_ref()?.refusals())));
    if let Some((plan, refusals)) = refused.into_iter().next()
        && let (workers, Some((_, refusal))) = (refusals.clone().count(), refusals.last())
    {
        let first = plan.steps.first().map(|step| step.reference.name.as_str());
        let operation = refusal.operation().or(first).unwrap_or_default().to_owned();
        return Stall::Refused { operation, workers, reason: refusal.to_string() };
    }
    for (plan, exchange) in job.plan.exchanges.iter().zip(&job.exchanges) {
        let Some(queues) = exchange.queues() else { continue };
        let directive = plan.kind.name();
        if let Some((partition, reason)) = queues.down.clone() {
            return Stall::PartitionDown { directive, partition, reason };
        }
        if !queues.is_open() {
            return Stall::Spreading { directive };
        }
    }
    if let Some((exchange, reason)) = job.output_queues.down() {
        let (directive, reason) = (job.plan.exchanges[exchange].kind.name(), reason.to_owned());
        return Stall::OutputsDown { directive, reason };
    }
    // Once is no cause: it may have been a lost connection.
    let refused = |task: &Task| task.unaccepted.as_ref().is_some_and(|(times, _)| *times > 1);
    if let Some(oldest) = tasks().find(|task| refused(task)) {
        let pool = oldest.lane.pool.clone();
        let tasks = tasks().filter(|task| refused(task) && task.lane.pool == pool).count() as u32;
        let reason = oldest.unaccepted.as_ref().map(|(_, reason)| reason.clone());
        return Stall::NotAccepted { pool, tasks, reason: reason.unwrap_or_default() };
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
    let directive = |exchange: usize| job.plan.exchanges[exchange].kind.name();
    if let Some(exchange) = job.output_queues.opening_behind() {
        return Stall::Spreading { directive: directive(exchange) };
    }
    if let (0, Some(exchange)) = (job.account.undelivered(), job.output_queues.asked_behind()) {
        return Stall::OutputsSlow { directive: directive(exchange) };
    }
    match job.account.undelivered() {
        0 => {
            let unsealed = job.exchanges.iter().position(|exchange| !exchange.is_sealed());
            match unsealed.map(directive) {
                None => Stall::InputSlow,
                Some(directive) => {
                    Stall::InputUnfinished { directive, elements: job.progress().pulled }
                }
            }
        }
        bytes => Stall::ReaderSlow { bytes },
    }
}

/// The cause of a stall while this task, the oldest of the job, is out.
fn cause_at_task(shared: &Shared, job: &JobState, task: &Task, waited: Duration) -> Stall {
    let pool = task.lane.pool.clone();
    let out = |(_, other): &(_, &Task)| other.is_out() && other.lane.pool == pool;
    let tasks = shared.tasks.of(job.id).filter(out).count() as u32;
    if let Some(worker) = task.copies().iter().find_map(TaskCopy::holder) {
        let (operation, ElementName { index, group }) = blame::first(job, task);
        return Stall::Running { operation, index, group, worker, waited };
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
        let probes = probing.unanswered();
        if probes >= ROUNDS_OF_LOSSES {
            return Stall::Unanswered { pool, tasks, probes };
        }
        if probing.is_in_flight() {
            return Stall::Queued { pool, tasks };
        }
    }
    Stall::NoReply { pool, tasks, waited }
}
