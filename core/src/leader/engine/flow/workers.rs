//! The workers that are there, as their presence tells of them. Sizes windows and explains; decides
//! nothing but that a task is refused by all (rule 15).

use std::{collections::BTreeMap, time::Duration};

use crate::{
    broker::Pool,
    id::WorkerId,
    wire::{Presence, timing::PRESENCE_TIMEOUT},
};

/// The workers that were heard of lately.
#[derive(Debug, Clone, Default)]
pub(crate) struct Workers {
    seen: BTreeMap<WorkerId, WorkerSeen>,
    /// The slots of all workers, summed up when one comes, changes or goes.
    slots: BTreeMap<Pool, Slots>,
}

#[derive(Debug, Clone)]
struct WorkerSeen {
    pools: Vec<Pool>,
    slots: Slots,
    /// When it was last heard of.
    at: Duration,
}

/// Concurrent executions, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Slots {
    blocking: u32,
    asynchronous: u32,
}

impl Workers {
    pub(crate) fn heard(&mut self, presence: Presence, now: Duration) {
        let slots = Slots { blocking: presence.slots, asynchronous: presence.async_slots };
        let worker = WorkerSeen { pools: presence.pools, slots, at: now };
        let same = |known: &WorkerSeen| known.pools == worker.pools && known.slots == worker.slots;
        let changed = !self.seen.get(&presence.worker).is_some_and(same);
        self.seen.insert(presence.worker, worker);
        if changed {
            self.count_slots();
        }
    }

    pub(crate) fn bye(&mut self, worker: WorkerId) {
        self.seen.remove(&worker);
        self.count_slots();
    }

    /// Forgets those that were not heard of for a while.
    pub(crate) fn forget_silent(&mut self, now: Duration) {
        let before = self.seen.len();
        self.seen.retain(|_, worker| now.saturating_sub(worker.at) < PRESENCE_TIMEOUT);
        if self.seen.len() != before {
            self.count_slots();
        }
    }

    /// The live slots of a pool, of the kind that is asked for.
    pub(crate) fn slots(&self, pool: &Pool, is_async: bool) -> u32 {
        let slots = self.slots.get(pool).copied().unwrap_or_default();
        if is_async { slots.asynchronous } else { slots.blocking }
    }

    /// Who serves a pool.
    pub(crate) fn serving(&self, pool: &Pool) -> impl Iterator<Item = WorkerId> {
        self.seen.iter().filter(|(_, worker)| worker.pools.contains(pool)).map(|(id, _)| *id)
    }

    /// Whether this worker serves the pool.
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
