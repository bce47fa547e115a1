//! The live workers and their slots, as their presence events report them.
//!
//! Presence sizes windows and explains stalls. It never makes a copy count as lost; the only
//! decision that depends on it is that all live workers refuse a task (rule 15).

use std::{collections::BTreeMap, time::Duration};

use crate::{
    broker::Pool,
    id::WorkerId,
    wire::{Presence, timing::PRESENCE_TIMEOUT},
};

/// The workers whose last presence is younger than [`PRESENCE_TIMEOUT`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Workers {
    seen: BTreeMap<WorkerId, WorkerSeen>,
    /// The sum of the slots of all workers, by pool; updated when a worker appears, changes or
    /// disappears.
    slots: BTreeMap<Pool, Slots>,
}

#[derive(Debug, Clone)]
struct WorkerSeen {
    pools: Vec<Pool>,
    slots: Slots,
    /// The wall time of its last presence.
    at: Duration,
}

/// The number of concurrent executions, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Slots {
    blocking: u32,
    asynchronous: u32,
}

impl Workers {
    /// Records a presence; `now` is in wall time.
    pub(crate) fn record(&mut self, presence: Presence, now: Duration) {
        let slots = Slots { blocking: presence.slots, asynchronous: presence.async_slots };
        let worker = WorkerSeen { pools: presence.pools, slots, at: now };
        let same = |known: &WorkerSeen| known.pools == worker.pools && known.slots == worker.slots;
        let known = self.seen.get(&presence.worker);
        if known.is_none() {
            let (worker, name, version) = (presence.worker, presence.name, presence.version);
            tracing::info!(%worker, name, version, ?slots, "discovered a worker");
        }
        let changed = !known.is_some_and(same);
        self.seen.insert(presence.worker, worker);
        if changed {
            self.count_slots();
        }
    }

    pub(crate) fn bye(&mut self, worker: WorkerId) {
        self.seen.remove(&worker);
        self.count_slots();
    }

    /// Removes the workers whose last presence is older than [`PRESENCE_TIMEOUT`].
    pub(crate) fn forget_expired(&mut self, now: Duration) {
        let before = self.seen.len();
        self.seen.retain(|_, worker| now.saturating_sub(worker.at) < PRESENCE_TIMEOUT);
        if self.seen.len() != before {
            self.count_slots();
        }
    }

    /// The number of slots of one kind of all live workers of a pool.
    pub(crate) fn slots(&self, pool: &Pool, is_async: bool) -> u32 {
        let slots = self.slots.get(pool).copied().unwrap_or_default();
        if is_async { slots.asynchronous } else { slots.blocking }
    }

    /// The live workers that serve a pool.
    pub(crate) fn serving(&self, pool: &Pool) -> impl Iterator<Item = WorkerId> {
        self.seen.iter().filter(|(_, worker)| worker.pools.contains(pool)).map(|(id, _)| *id)
    }

    /// Whether this worker is live and serves the pool.
    pub(crate) fn is_serving(&self, worker: WorkerId, pool: &Pool) -> bool {
        self.seen.get(&worker).is_some_and(|worker| worker.pools.contains(pool))
    }

    fn count_slots(&mut self) {
        self.slots.clear();
        for worker in self.seen.values() {
            for pool in &worker.pools {
                let sum = self.slots.entry(pool.clone()).or_default();
                sum.blocking = sum.blocking.saturating_add(worker.slots.blocking);
                sum.asynchronous = sum.asynchronous.saturating_add(worker.slots.asynchronous);
            }
        }
    }
}
