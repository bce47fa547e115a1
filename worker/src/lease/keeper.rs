//! Settles each delivery within the hold: returns tasks that wait, and leases those that run or
//! whose replies wait for their blocks.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use phalanx_core::{
    broker::{Address, Message, MessageKind, Properties, PublishError},
    id::{CopyId, ExecutionId, LeaderId},
    wire::{Lease, LeasedTask, ReturnReason, WIRE_VERSION, timing::lease_interval},
};
use tokio::time::Instant;

use super::RETRY_PAUSE;
use crate::{
    execution::{RunState, Running},
    executor::{Executor, Publishing},
    reply::SharedDelivery,
    shared::Shared,
    slots::SlotKind,
};

/// Settles each delivery within `hold` of its arrival for as long as the worker lives: returns
/// tasks that have not begun, and leases those that run.
pub(crate) async fn keep_leases(shared: Arc<Shared>, executor: Arc<Executor>) {
    let hold = shared.options().hold;
    let mut keeper = LeaseKeeper {
        shared: &shared,
        executor: &executor,
        // The rest of the hold is for the broker's confirm.
        settle_after: hold * 5 / 6,
        interval: lease_interval(hold),
        leaders: HashMap::new(),
        publishing: FuturesUnordered::new(),
    };
    loop {
        let next = keeper.settle_due();
        // Cancel-safe: a dropped `next` leaves its futures in `publishing`.
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            Some(published) = keeper.publishing.next(), if !keeper.publishing.is_empty() => {
                keeper.published(published);
            }
        }
    }
}

struct LeaseKeeper<'a> {
    shared: &'a Shared,
    executor: &'a Executor,
    /// The age at which a delivery is returned or leased.
    settle_after: Duration,
    /// The interval between two heartbeats to one leader.
    interval: Duration,
    leaders: HashMap<LeaderId, LeaderLeases>,
    /// At most one heartbeat for each leader, so that its content is true when it is published.
    publishing: FuturesUnordered<BoxFuture<'a, Published>>,
}

/// The tasks of one leader that are leased, or are about to be.
struct LeaderLeases {
    tasks: HashMap<ExecutionId, Leased>,
    /// When the next heartbeat is due.
    next: Instant,
    is_publishing: bool,
}

struct Leased {
    copy: CopyId,
    /// Gone once the task has ended; then only its reply is awaited.
    running: Weak<Running>,
    /// The offset of the element that the last heartbeat named.
    offset: u32,
    /// Dropped once the broker has the reply.
    delivery: Weak<SharedDelivery>,
    /// When the delivery is to be settled, by the ack that a confirmed lease allows.
    settle_at: Instant,
    /// Whether the broker has confirmed a lease of the task, and the delivery is settled.
    is_settled: bool,
    /// Whether the slots of the task count as leased. While it gathers, it has none.
    occupies: bool,
}

impl Leased {
    fn awaits_settling(&self, now: Instant) -> bool {
        !self.is_settled && self.settle_at <= now
    }

    /// The task, if its slots are to be counted as leased from now on.
    fn begins_to_occupy(&self) -> Option<Arc<Running>> {
        let running = self.running.upgrade()?;
        (self.is_settled && !self.occupies && running.has_begun()).then_some(running)
    }

    /// What a heartbeat says about the task.
    fn task(&mut self) -> LeasedTask {
        let running = self.running.upgrade();
        if let Some(running) = &running {
            self.offset = running.offset();
        }
        let in_process = running.is_some_and(|running| names_one(&running));
        LeasedTask { copy: self.copy, offset: self.offset, in_process }
    }
}

/// A heartbeat that the broker has confirmed or refused.
struct Published {
    leader: LeaderId,
    tasks: Vec<ExecutionId>,
    result: Result<(), PublishError>,
}

impl LeaseKeeper<'_> {
    /// Returns waiting tasks and leases running ones that are due, and publishes heartbeats.
    /// Returns when to call again.
    fn settle_due(&mut self) -> Instant {
        let now = Instant::now();
        // No delivery that arrives from now on, and no task that begins, is due earlier.
        let mut next = now + self.interval;
        for running in self.executor.executions().all() {
            let settle_at = running.arrived() + self.settle_after;
            let is_due = settle_at <= now;
            if !is_due {
                next = next.min(settle_at);
            }
            match running.state() {
                RunState::Waiting if is_due => {
                    self.executor.return_unrun(&running, ReturnReason::NotStarted);
                }
                // The leader expects heartbeats from the first lease on, which named an element.
                RunState::Running(delivery) if is_due || names_one(&running) => {
                    let header = &running.task.header;
                    let leased = Leased {
                        copy: header.copy,
                        running: Arc::downgrade(&running),
                        offset: 0,
                        delivery,
                        settle_at,
                        is_settled: false,
                        occupies: false,
                    };
                    self.lease(header.leader, running.id(), leased, now);
                }
                _ => {}
            }
        }
        for Publishing { leader, copy, execution, arrived, delivery } in
            self.executor.executions().publishing()
        {
            let settle_at = arrived + self.settle_after;
            if settle_at > now {
                next = next.min(settle_at);
                continue;
            }
            let (running, offset) = (Weak::new(), 0);
            let (is_settled, occupies) = (false, false);
            let leased =
                Leased { copy, running, offset, delivery, settle_at, is_settled, occupies };
            self.lease(leader, execution, leased, now);
        }
        self.leaders.retain(|_, leases| {
            leases.tasks.retain(|_, task| task.delivery.strong_count() > 0);
            leases.is_publishing || !leases.tasks.is_empty()
        });
        self.occupy_slots();
        let due: Vec<LeaderId> = self
            .leaders
            .iter()
            .filter(|(_, leases)| !leases.is_publishing && leases.next <= now)
            .map(|(leader, _)| *leader)
            .collect();
        for leader in due {
            self.publish(leader);
        }
        let waiting = self.leaders.values().filter(|leases| !leases.is_publishing);
        waiting.map(|leases| leases.next).fold(next, Instant::min)
    }

    fn lease(&mut self, leader: LeaderId, execution: ExecutionId, leased: Leased, now: Instant) {
        let leases = self.leaders.entry(leader).or_insert_with(|| LeaderLeases {
            tasks: HashMap::new(),
            next: now,
            is_publishing: false,
        });
        let leased = leases.tasks.entry(execution).or_insert_with(|| {
            leases.next = now;
            leased
        });
        if leased.awaits_settling(now) {
            leases.next = now;
        }
    }

    /// Publishes a heartbeat for all leased tasks of a leader.
    fn publish(&mut self, leader: LeaderId) {
        let Some(leases) = self.leaders.get_mut(&leader) else { return };
        leases.is_publishing = true;
        let leased = leases.tasks.values_mut().map(Leased::task).collect();
        let worker = self.shared.worker();
        let heartbeat = self.shared.next_heartbeat();
        let lease = Lease { worker, heartbeat, tasks: leased }.encode();
        let properties = Properties {
            kind: Some(MessageKind::Lease),
            wire_version: WIRE_VERSION,
            // A heartbeat that is repeated anyway need not be persistent; one that allows an ack
            // must be.
            persistent: leases.tasks.values().any(|leased| !leased.is_settled),
            ..Properties::default()
        };
        let tasks = leases.tasks.keys().copied().collect();
        let broker = self.shared.broker();
        self.publishing.push(Box::pin(async move {
            let result = match lease {
                Ok(body) => {
                    let address = Address::replies(leader);
                    // As replies are, so that none overtakes a lease that was published before it.
                    broker.publish_mandatory(&address, Message { properties, body }).await.map(drop)
                }
                Err(error) => Err(PublishError::Refused { reason: error.to_string() }),
            };
            if let Err(PublishError::Lost | PublishError::Nacked { .. }) = result {
                tokio::time::sleep(RETRY_PAUSE).await;
                // Fails if the broker object is gone; then publishing fails too.
                let _ = broker.health().wait_for(|health| health.is_well()).await;
            }
            Published { leader, tasks, result }
        }));
    }

    /// Acks the deliveries of a heartbeat that the broker has confirmed; otherwise publishes it
    /// again.
    fn published(&mut self, Published { leader, tasks, result }: Published) {
        let Some(leases) = self.leaders.get_mut(&leader) else { return };
        leases.is_publishing = false;
        let now = Instant::now();
        leases.next = match result {
            Err(PublishError::Lost | PublishError::Nacked { .. }) => now,
            _ => now + self.interval,
        };
        if let Err(error) = result {
            return tracing::debug!(%leader, %error, "could not publish a lease; trying again");
        }
        for id in tasks {
            let leased = leases.tasks.get_mut(&id).filter(|task| task.awaits_settling(now));
            let Some(leased) = leased else { continue };
            leased.is_settled = true;
            if let Some(delivery) = leased.delivery.upgrade() {
                delivery.lease();
            }
        }
        // A task that became due meanwhile is not part of this heartbeat.
        if leases.tasks.values().any(|leased| leased.awaits_settling(now)) {
            leases.next = now;
        }
        self.occupy_slots();
    }

    /// Counts the slots of leased tasks that have begun. If none is left, returns the tasks that
    /// wait for one.
    fn occupy_slots(&mut self) {
        let tasks = self.leaders.values_mut().flat_map(|leases| leases.tasks.values_mut());
        for leased in tasks {
            let Some(running) = leased.begins_to_occupy() else { continue };
            leased.occupies = true;
            if let Some(delivery) = leased.delivery.upgrade() {
                delivery.occupy(self.executor.leased().lease(running.kind, running.width()));
            }
        }
        self.return_waiting_if_exhausted();
    }

    /// If all slots of a kind are leased, returns the tasks that wait for one.
    fn return_waiting_if_exhausted(&self) {
        let is_exhausted = |kind: SlotKind| self.executor.leased().is_exhausted(kind);
        if !is_exhausted(SlotKind::Blocking) && !is_exhausted(SlotKind::Asynchronous) {
            return;
        }
        for running in self.executor.executions().all() {
            let waits = matches!(running.state(), RunState::Waiting);
            if waits && is_exhausted(running.kind) {
                self.executor.return_unrun(&running, ReturnReason::NotStarted);
            }
        }
    }
}

/// Whether the element that a task runs is named, so that it is to blame if this process dies: not
/// while the task only gathers its blocks.
fn names_one(running: &Running) -> bool {
    running.names_elements() && running.has_begun()
}
