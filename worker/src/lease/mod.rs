//! Deliveries that are settled in time, although their tasks run on or wait (rule 8).

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use phalanx_core::{
    broker::{Address, Message, MessageKind, Properties, PublishError},
    id::{ExecutionId, LeaderId},
    wire::{Lease, LeasedTask, ReturnReason, WIRE_VERSION, timing::lease_interval},
};
use tokio::time::Instant;

use crate::{
    claim::Claim,
    engine::Engine,
    execution::{Running, Standing},
    lent::Kind,
};

/// Pause before a lease is published again that the broker did not take.
const PAUSE: Duration = Duration::from_millis(20);

/// Sees to it that each delivery is settled within `hold` of its arrival: gives back what has not
/// begun, and leases what runs, for as long as the worker lives.
pub(crate) async fn keep(engine: Arc<Engine>) {
    let hold = engine.options.hold;
    let mut keeper = Keeper {
        engine: &engine,
        // The rest is for the broker's confirm.
        due: hold * 5 / 6,
        pace: lease_interval(hold),
        leaders: HashMap::new(),
        saying: FuturesUnordered::new(),
        heartbeat: 0,
    };
    loop {
        let next = keeper.look();
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            Some(said) = keeper.saying.next(), if !keeper.saying.is_empty() => keeper.heard(said),
        }
    }
}

struct Keeper<'e> {
    engine: &'e Engine,
    /// The age at which something is done about a delivery.
    due: Duration,
    /// Time between two beats.
    pace: Duration,
    leaders: HashMap<LeaderId, Leases>,
    /// At most one of each leader, so that what it says is true when it is published.
    saying: FuturesUnordered<BoxFuture<'e, Said>>,
    heartbeat: u64,
}

/// All that is leased, or is to be, from one leader.
struct Leases {
    tasks: HashMap<ExecutionId, Leased>,
    /// When the next heartbeat is due.
    next: Instant,
    is_saying: bool,
}

struct Leased {
    running: Arc<Running>,
    /// Gone when the answer is with the broker.
    claim: Weak<Claim>,
    /// Whether the broker has confirmed a lease of it.
    is_confirmed: bool,
}

/// What became of a heartbeat.
struct Said {
    leader: LeaderId,
    tasks: Vec<ExecutionId>,
    result: Result<(), PublishError>,
}

impl<'e> Keeper<'e> {
    /// Does what is due; returns when to look again.
    fn look(&mut self) -> Instant {
        let now = Instant::now();
        // What comes from now on is not due before that.
        let mut next = now + self.due;
        for running in self.engine.executions.all() {
            let due = running.arrived() + self.due;
            if due > now {
                next = next.min(due);
                continue;
            }
            match running.standing() {
                Standing::Waits => self.engine.give_back(&running, ReturnReason::NotStarted),
                Standing::Runs(claim) => self.lease(running, claim, now),
                Standing::Answered => {}
            }
        }
        self.leaders.retain(|_, leases| {
            leases.tasks.retain(|_, task| task.claim.strong_count() > 0);
            leases.is_saying || !leases.tasks.is_empty()
        });
        let due: Vec<LeaderId> = self
            .leaders
            .iter()
            .filter(|(_, leases)| !leases.is_saying && leases.next <= now)
            .map(|(leader, _)| *leader)
            .collect();
        for leader in due {
            self.say(leader);
        }
        let beats = self.leaders.values().filter(|leases| !leases.is_saying);
        beats.map(|leases| leases.next).fold(next, Instant::min)
    }

    fn lease(&mut self, running: Arc<Running>, claim: Weak<Claim>, now: Instant) {
        let leader = running.task.header.leader;
        let leases = self.leaders.entry(leader).or_insert_with(|| Leases {
            tasks: HashMap::new(),
            next: now,
            is_saying: false,
        });
        leases.tasks.entry(running.id()).or_insert_with(|| {
            leases.next = now;
            Leased { running, claim, is_confirmed: false }
        });
    }

    /// Says what is held of a leader.
    fn say(&mut self, leader: LeaderId) {
        let Some(leases) = self.leaders.get_mut(&leader) else { return };
        leases.is_saying = true;
        self.heartbeat += 1;
        let held = leases.tasks.values().map(|leased| LeasedTask {
            copy: leased.running.task.header.copy,
            offset: leased.running.position(),
        });
        let lease =
            Lease { worker: self.engine.worker, heartbeat: self.heartbeat, tasks: held.collect() }
                .encode();
        let properties = Properties {
            kind: Some(MessageKind::Lease),
            wire_version: WIRE_VERSION,
            // What is said again in a moment needs no disk; what a delivery is acked for does.
            persistent: leases.tasks.values().any(|leased| !leased.is_confirmed),
            ..Properties::default()
        };
        let tasks = leases.tasks.keys().copied().collect();
        let broker = &self.engine.broker;
        self.saying.push(Box::pin(async move {
            let result = match lease {
                Ok(body) => {
                    let address = Address::replies(leader);
                    broker.publish(&address, Message { properties, body }).await
                }
                Err(error) => Err(PublishError::Refused { reason: error.to_string() }),
            };
            if let Err(PublishError::Lost | PublishError::Nacked { .. }) = result {
                tokio::time::sleep(PAUSE).await;
                // An error means that the broker object is gone: publishing will say so.
                let _ = broker.health().wait_for(|health| health.is_well()).await;
            }
            Said { leader, tasks, result }
        }));
    }

    /// A heartbeat is with the broker, or not: until it is, the deliveries stay unsettled.
    fn heard(&mut self, Said { leader, tasks, result }: Said) {
        let Some(leases) = self.leaders.get_mut(&leader) else { return };
        leases.is_saying = false;
        let now = Instant::now();
        leases.next = match result {
            Err(PublishError::Lost | PublishError::Nacked { .. }) => now,
            _ => now + self.pace,
        };
        if let Err(error) = result {
            return tracing::debug!(%leader, %error, "a lease will be published again");
        }
        for id in tasks {
            let Some(leased) = leases.tasks.get_mut(&id).filter(|task| !task.is_confirmed) else {
                continue;
            };
            leased.is_confirmed = true;
            let (running, lent) = (&leased.running, &self.engine.lent);
            if let Some(claim) = leased.claim.upgrade() {
                claim.lease(lent.lend(running.kind, running.width()));
            }
        }
        // One that became due meanwhile has not been spoken of.
        if leases.tasks.values().any(|leased| !leased.is_confirmed) {
            leases.next = now;
        }
        self.give_back_what_waits_for_leased();
    }

    /// Where all slots are lent, nothing is to wait for them.
    fn give_back_what_waits_for_leased(&self) {
        let is_lent = |kind: Kind| self.engine.lent.is_all(kind);
        if !is_lent(Kind::Blocking) && !is_lent(Kind::Asynchronous) {
            return;
        }
        for running in self.engine.executions.all() {
            if is_lent(running.kind) {
                self.engine.give_back(&running, ReturnReason::NotStarted);
            }
        }
    }
}

#[cfg(test)]
mod tests;
