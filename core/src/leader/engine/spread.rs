//! Spreads exchanges over queues: when, what becomes of the blocks that the leader holds, and what
//! becomes of the queues (rules 28, 29, 36 and 41).

use std::{num::NonZeroU32, time::Duration};

use super::{
    event::JobEvent,
    flow::Room,
    gone,
    job::{JobState, Jobs, Queues},
    output_queues,
    protocol::Action,
    shared::Shared,
    table::TaskCopy,
};
use crate::{
    broker::{BrokerError, PublishError, QueueAction, ShuffleQueue},
    error::ShuffleFailure,
    id::{CopyId, JobId},
};

/// How often queues are renewed: often enough that none expires, which takes 30 minutes.
const RENEWED_EVERY: Duration = Duration::from_secs(10 * 60);
/// How often queues are renewed while their job makes no progress, because one of them may be gone
/// or unbound.
const CHECKED_EVERY: Duration = Duration::from_secs(5);
/// How long the broker may accept no messages while queues have blocks.
const LONGEST_BLOCKED: Duration = Duration::from_secs(60);
/// A task may be returned this often for missing blocks.
const MISSING_TIMES: u32 = 3;
/// And for this long, in quiet time.
const MISSING_FOR: Duration = Duration::from_secs(60);

/// Whether a task of this stage may go out as far as blocks are concerned. If there is no room for
/// them, the exchange that the stage feeds is spread.
pub(super) fn make_room(shared: &mut Shared, job: &mut JobState, stage: usize, slots: u32) -> bool {
    let Some(exchange) = job.fed_by(stage) else { return true };
    let Some((id, wanted)) = job.block_cap(stage) else {
        // All queues exist before the first task goes out that writes to them (rule 29).
        return job.exchanges[exchange].queues().is_none_or(|queues| queues.is_open());
    };
    match shared.blocks.room(id, wanted, slots) {
        Room::Cap(_) => true,
        Room::Later => false,
        Room::Full => {
            spread(shared, job, exchange);
            false
        }
    }
}

/// Spreads an exchange: its queues are declared, and then its blocks go there.
fn spread(shared: &mut Shared, job: &mut JobState, exchange: usize) {
    let now = shared.clocks.healthy;
    let plan = &job.plan.exchanges[exchange];
    let slots = plan.feeders.first().map_or(0, |stage| shared.sizing(job, *stage).slots);
    let fixed = plan.partitions.map(NonZeroU32::get);
    // Unless a task has been sent that feeds it.
    job.exchanges[exchange].partitions(fixed, slots);
    let partitions = job.exchanges[exchange].spread(now);
    let queues = job.queue_names(exchange, partitions);
    shared.actions.push(Action::Manage { action: QueueAction::Declare, queues });
    let exchange = job.exchanges[exchange].written();
    shared.emit(job.id, JobEvent::ExchangeSpread { exchange });
}

/// After a change: spreads the exchanges that hold too much, publishes the blocks that the leader
/// still holds of those that are spread, and deletes the queues that are read.
pub(super) fn advance(shared: &mut Shared, job: &mut JobState) {
    for exchange in 0..job.exchanges.len() {
        let id = (job.id, exchange);
        shared.blocks.record(id, job.exchanges[exchange].held());
        let state = &job.exchanges[exchange];
        if state.queues().is_none() && !state.is_sealed() && shared.blocks.is_exceeded(id) {
            spread(shared, job, exchange);
        }
        let blocks = job.exchanges[exchange].take_held(job.id, exchange as u32);
        if !blocks.is_empty() {
            shared.actions.push(Action::PublishBlocks { blocks });
        }
        let settled = job.exchanges[exchange].take_settled();
        if !settled.is_empty() {
            let queues = job.queue_names(exchange, settled);
            shared.actions.push(Action::Manage { action: QueueAction::Delete, queues });
        }
    }
    let (bytes, limit) = (job.shuffled_bytes(), shared.settings.shuffle_limit);
    if bytes > limit
        && let Some(exchange) = job.exchanges.iter().rposition(|it| it.queues().is_some())
    {
        job.fail_shuffle(exchange, ShuffleFailure::LimitExceeded { bytes, limit });
    }
}

/// The end of a job deletes all its queues (rule 41).
pub(super) fn end(shared: &mut Shared, job: &mut JobState) {
    shared.blocks.forget(job.id);
    for exchange in 0..job.exchanges.len() {
        let live = job.exchanges[exchange].queues_mut().map(|queues| queues.take_live());
        let queues = job.queue_names(exchange, live.unwrap_or_default());
        if !queues.is_empty() {
            shared.actions.push(Action::Manage { action: QueueAction::Delete, queues });
        }
    }
    output_queues::end(shared, job);
}

/// Queues of an exchange were declared, renewed or deleted.
pub(super) fn managed(
    shared: &mut Shared,
    job: &mut JobState,
    action: QueueAction,
    outcomes: Vec<(ShuffleQueue, Result<u64, BrokerError>)>,
) {
    let Some((ShuffleQueue::Partition { exchange, .. }, _)) = outcomes.first() else {
        return output_queues::managed(shared, job, action, outcomes);
    };
    let exchange = *exchange as usize;
    let Some(queues) = job.exchanges.get_mut(exchange).and_then(|it| it.queues_mut()) else {
        return;
    };
    if action != QueueAction::Delete {
        queues.end_renewal(shared.clocks.healthy);
    }
    let mut is_whole = true;
    for (queue, outcome) in outcomes {
        let ShuffleQueue::Partition { partition, .. } = queue else { continue };
        let is_over = job.exchanges[exchange].is_over(partition);
        let queues = job.exchanges[exchange].queues_mut();
        // Or it was read, and deleted meanwhile.
        let Some(queues) = queues.filter(|it| it.is_live(partition)) else { continue };
        match outcome {
            Ok(_) => drop(queues.down.take_if(|(down, _)| *down == partition)),
            Err(BrokerError::Absent { .. }) if is_over => {}
            Err(BrokerError::Absent { .. }) => return lost(job, exchange, partition, 0),
            Err(BrokerError::NodeDown { reason, .. }) => {
                is_whole = false;
                queues.down = Some((partition, reason));
            }
            // Once the connection is back, they are declared or renewed again.
            Err(BrokerError::Lost { .. }) => {
                is_whole = false;
                queues.make_due();
            }
            // The driver ends all jobs.
            Err(BrokerError::Closed) => return,
            Err(source) => return job.fail_shuffle(exchange, ShuffleFailure::Queue { source }),
        }
    }
    if action == QueueAction::Declare
        && is_whole
        && let Some(queues) = job.exchanges[exchange].queues_mut()
    {
        queues.open();
        shared.progressed(job);
    }
}

/// A block of the leader has arrived in its queue, or never will.
pub(super) fn published(
    job: &mut JobState,
    exchange: usize,
    bytes: usize,
    result: Result<(), PublishError>,
) {
    match result {
        Ok(()) => {
            if let Some(state) = job.exchanges.get_mut(exchange) {
                state.published(bytes);
            }
        }
        // The driver ends all jobs.
        Err(PublishError::Closed) => {}
        Err(source) if exchange < job.exchanges.len() => {
            job.fail_shuffle(exchange, ShuffleFailure::Publish { source });
        }
        Err(_) => {}
    }
}

/// A worker returned a copy because blocks are missing (rule 36). A queue that is gone is found out
/// at once; otherwise the task is tried some times.
pub(super) fn blocks_missing(
    shared: &mut Shared,
    job: &mut JobState,
    copy: CopyId,
    (partition, found): (u32, u32),
) {
    let now = shared.clocks.quiet;
    let Some(task) = shared.tasks.get_mut(copy.task) else { return };
    let stage = task.stage;
    let Some(exchange) = job.read_by(stage).filter(|it| job.exchanges[*it].queues().is_some())
    else {
        return gone::reissue(shared, job, copy);
    };
    // Another copy that is being run has the queue, and its result may come.
    let others = |other: &&TaskCopy| other.attempt != copy.attempt;
    if !task.copies().iter().filter(others).any(|other| other.holder().is_some()) {
        let (times, since) = task.missing.get_or_insert((0, now));
        *times += 1;
        if *times >= MISSING_TIMES || now.saturating_sub(*since) >= MISSING_FOR {
            return lost(job, exchange, partition, u64::from(found));
        }
    }
    renew(shared, job, exchange);
    gone::reissue_after_setback(shared, job, copy);
}

/// A worker returned a copy because no worker like it can read a partition: the broker took blocks
/// back twice before all had arrived (rule 34), or a part is larger than its memory (rule 38).
pub(super) fn unreadable(
    shared: &mut Shared,
    job: &mut JobState,
    copy: CopyId,
    failure: ShuffleFailure,
) {
    let stage = shared.tasks.get(copy.task).map(|task| task.stage);
    match stage.and_then(|stage| job.read_by(stage)) {
        Some(exchange) => job.fail_shuffle(exchange, failure),
        None => gone::reissue(shared, job, copy),
    }
}

/// Renews queues, so that they do not expire; more often while nothing happens. Ends a job if the
/// broker is full. Returns the job that fails.
pub(super) fn look_at_queues(shared: &mut Shared, jobs: &mut Jobs) -> Option<JobId> {
    if shared.clocks.blocked >= LONGEST_BLOCKED {
        return broker_full(shared, jobs);
    }
    if !shared.health.is_well() {
        return None;
    }
    let now = shared.clocks.healthy;
    for job in jobs.iter_mut() {
        let quiet = shared.clocks.wall.saturating_sub(job.last_progress) >= CHECKED_EVERY;
        for exchange in 0..job.exchanges.len() {
            let Some(queues) = job.exchanges[exchange].queues() else { continue };
            // Tasks wait for queues that could not be declared, whatever else makes progress.
            let often = quiet || !queues.is_open();
            if queues.are_due(now, if often { CHECKED_EVERY } else { RENEWED_EVERY }) {
                renew(shared, job, exchange);
            }
        }
        let often = quiet || job.output_queues.live().any(|(_, is_open)| !is_open);
        if job.output_queues.are_due(now, if often { CHECKED_EVERY } else { RENEWED_EVERY }) {
            output_queues::renew(shared, job);
        }
    }
    None
}

/// Renews the queues of an exchange; at once, or if that is under way, again after it. What could
/// not be declared is declared again.
fn renew(shared: &mut Shared, job: &mut JobState, exchange: usize) {
    let Some(queues) = job.exchanges[exchange].queues_mut() else { return };
    let live: Vec<u32> = queues.live().collect();
    if live.is_empty() {
        return;
    }
    if !queues.begin_renewal(shared.clocks.healthy) {
        return queues.make_due();
    }
    let action = if queues.is_open() { QueueAction::Renew } else { QueueAction::Declare };
    let queues = job.queue_names(exchange, live);
    shared.actions.push(Action::Manage { action, queues });
}

/// The connection was interrupted: queues may have been lost with it.
pub(super) fn interrupted(jobs: &mut Jobs) {
    for job in jobs.iter_mut() {
        job.exchanges.iter_mut().filter_map(|it| it.queues_mut()).for_each(Queues::make_due);
        job.output_queues.make_due();
    }
}

/// Fails the job with the most bytes in queues: nothing else could free the broker.
fn broker_full(shared: &mut Shared, jobs: &mut Jobs) -> Option<JobId> {
    let blocked = std::mem::take(&mut shared.clocks.blocked);
    let full = jobs.iter_mut().filter(|job| job.queued_bytes() > 0);
    let job = full.max_by_key(|job| job.queued_bytes())?;
    let exchange = job.exchanges.iter().rposition(|exchange| exchange.queues().is_some())?;
    let reason = shared.health.blocked.clone().unwrap_or_default();
    let bytes = job.queued_bytes();
    job.fail_shuffle(exchange, ShuffleFailure::BrokerFull { bytes, blocked, reason });
    Some(job.id)
}

fn lost(job: &mut JobState, exchange: usize, partition: u32, found: u64) {
    let blocks = job.exchanges[exchange].announced(&[partition]);
    let announced = blocks.first().map_or(0, |it| u64::from(it.blocks));
    job.fail_shuffle(exchange, ShuffleFailure::BlocksLost { partition, announced, found });
}
