//! The live workers and their slots, as their presence events report them.
//!
//! Presence is input from outside: anyone who may publish to the broker can claim anything. So what
//! is kept is bounded, sums saturate, and each event costs the same, however many workers there
//! are. Presence sizes windows and explains stalls. It never makes a copy count as lost; the only
//! decision that depends on it is that no live worker can run a stage (rule 15).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    broker::Pool,
    id::WorkerId,
    wire::{Presence, timing::PRESENCE_TIMEOUT},
};

/// The most workers that are kept; then the one that has not been seen for the longest time goes.
const MAX_WORKERS: usize = 16_384;
/// The most pools of one worker that are kept.
const MAX_POOLS: usize = 256;
/// The longest name of a worker that is kept, in characters.
const MAX_NAME: usize = 200;
/// The most slots of one kind that one worker can have: what its command line admits.
const MAX_WORKER_SLOTS: u32 = u16::MAX as u32;
/// The most slots of one kind in one pool.
const MAX_POOL_SLOTS: u64 = 1 << 20;

/// The workers whose last presence is younger than [`PRESENCE_TIMEOUT`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Workers {
    seen: BTreeMap<WorkerId, WorkerSeen>,
    /// The workers in the order of their last presence, oldest first.
    by_age: BTreeMap<u64, WorkerId>,
    /// The key of the next presence in `by_age`.
    next_age: u64,
    /// The sums over all workers of each pool that has a live worker.
    pools: BTreeMap<Pool, PoolSlots>,
}

#[derive(Debug, Clone)]
struct WorkerSeen {
    pools: BTreeSet<Pool>,
    slots: Slots,
    /// The healthy time of its last presence.
    at: Duration,
    /// Whether it has run something for this leader.
    worked: bool,
    name: String,
    /// Its key in `by_age`.
    age: u64,
}

/// A worker that has not been heard from for [`PRESENCE_TIMEOUT`], without a good-bye.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LostWorker {
    pub(crate) worker: WorkerId,
    pub(crate) name: String,
    pub(crate) pools: BTreeSet<Pool>,
}

/// The number of concurrent executions of one worker, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slots {
    blocking: u32,
    asynchronous: u32,
}

/// The workers of one pool and the sum of their slots. The sums cannot overflow: they have at most
/// [`MAX_WORKERS`] terms of at most [`MAX_WORKER_SLOTS`].
#[derive(Debug, Clone, Copy, Default)]
struct PoolSlots {
    workers: u64,
    blocking: u64,
    asynchronous: u64,
}

impl Workers {
    /// Records a presence; `now` is in healthy time.
    pub(crate) fn record(&mut self, presence: Presence, now: Duration) {
        let slots = Slots {
            blocking: presence.slots.min(MAX_WORKER_SLOTS),
            asynchronous: presence.async_slots.min(MAX_WORKER_SLOTS),
        };
        let worker = presence.worker;
        let known = self.remove(worker);
        if known.is_none() {
            let Presence { name, version, isolates, .. } = &presence;
            tracing::info!(%worker, name, version, ?slots, isolates, "discovered a worker");
        }
        if self.seen.len() >= MAX_WORKERS
            && let Some((_, oldest)) = self.by_age.first_key_value()
        {
            self.remove(*oldest);
        }
        let age = self.next_age;
        self.next_age += 1;
        let pools: BTreeSet<Pool> = presence.pools.into_iter().take(MAX_POOLS).collect();
        for pool in &pools {
            let sum = self.pools.entry(pool.clone()).or_default();
            sum.workers += 1;
            sum.blocking += u64::from(slots.blocking);
            sum.asynchronous += u64::from(slots.asynchronous);
        }
        self.by_age.insert(age, worker);
        let worked = known.is_some_and(|known| known.worked);
        let name = presence.name.chars().take(MAX_NAME).collect();
        self.seen.insert(worker, WorkerSeen { pools, slots, at: now, age, worked, name });
    }

    pub(crate) fn bye(&mut self, worker: WorkerId) {
        self.remove(worker);
    }

    /// A worker has run something for this leader.
    pub(crate) fn worked(&mut self, worker: WorkerId) {
        if let Some(seen) = self.seen.get_mut(&worker) {
            seen.worked = true;
        }
    }

    /// Removes the workers whose last presence is older than [`PRESENCE_TIMEOUT`]; returns those of
    /// them that have run something for this leader.
    pub(crate) fn forget_expired(&mut self, now: Duration) -> Vec<LostWorker> {
        let mut lost = Vec::new();
        while let Some((_, oldest)) = self.by_age.first_key_value()
            && let Some(worker) = self.seen.get(oldest)
            && now.saturating_sub(worker.at) >= PRESENCE_TIMEOUT
        {
            let worker = *oldest;
            if let Some(WorkerSeen { worked: true, name, pools, .. }) = self.remove(worker) {
                lost.push(LostWorker { worker, name, pools });
            }
        }
        lost
    }

    /// The number of slots of one kind of all live workers of a pool.
    pub(crate) fn slots(&self, pool: &Pool, is_async: bool) -> u32 {
        let slots = self.pools.get(pool).copied().unwrap_or_default();
        let sum = if is_async { slots.asynchronous } else { slots.blocking };
        sum.min(MAX_POOL_SLOTS) as u32
    }

    /// The live workers that serve a pool.
    pub(crate) fn serving(&self, pool: &Pool) -> impl Iterator<Item = WorkerId> {
        self.seen.iter().filter(|(_, worker)| worker.pools.contains(pool)).map(|(id, _)| *id)
    }

    fn remove(&mut self, worker: WorkerId) -> Option<WorkerSeen> {
        let seen = self.seen.remove(&worker)?;
        self.by_age.remove(&seen.age);
        for pool in &seen.pools {
            if let Some(sum) = self.pools.get_mut(pool) {
                sum.workers -= 1;
                sum.blocking -= u64::from(seen.slots.blocking);
                sum.asynchronous -= u64::from(seen.slots.asynchronous);
                if sum.workers == 0 {
                    self.pools.remove(pool);
                }
            }
        }
        Some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(number: usize, pools: &[&str], slots: u32) -> Presence {
        Presence {
            worker: WorkerId(uuid::Uuid::from_u128(number as u128)),
            name: String::new(),
            version: String::new(),
            pools: pools.iter().map(|name| Pool::new(name).unwrap()).collect(),
            slots,
            async_slots: slots,
            isolates: true,
            operations: None,
        }
    }

    fn pool(name: &str) -> Pool {
        Pool::new(name).unwrap()
    }

    #[test]
    fn the_slots_of_a_pool_follow_the_workers_that_come_change_and_go() {
        let mut workers = Workers::default();
        workers.record(presence(1, &["a", "b", "b"], 3), Duration::ZERO);
        workers.record(presence(2, &["b"], 4), Duration::from_secs(1));
        assert_eq!((workers.slots(&pool("a"), false), workers.slots(&pool("b"), true)), (3, 7));
        workers.record(presence(1, &["b"], 5), Duration::from_secs(2));
        assert_eq!((workers.slots(&pool("a"), false), workers.slots(&pool("b"), true)), (0, 9));
        workers.forget_expired(Duration::from_secs(1) + PRESENCE_TIMEOUT);
        assert_eq!(workers.slots(&pool("b"), false), 5, "the second worker has expired");
        workers.bye(presence(1, &[], 0).worker);
        assert!(workers.pools.is_empty() && workers.by_age.is_empty() && workers.seen.is_empty());
    }

    #[test]
    fn only_a_worker_that_ran_something_and_said_no_good_bye_is_lost() {
        let mut workers = Workers::default();
        for number in 1..=3 {
            workers.record(presence(number, &["a"], 1), Duration::ZERO);
        }
        let id = |number| presence(number, &[], 0).worker;
        workers.worked(id(1));
        workers.worked(id(2));
        workers.record(presence(1, &["a"], 1), Duration::from_secs(5));
        workers.bye(id(2));
        let later = Duration::from_secs(5) + PRESENCE_TIMEOUT;
        let lost = workers.forget_expired(later - Duration::from_secs(1));
        assert_eq!(lost, [], "the third worker expires unnoticed: it ran nothing");
        let lost: Vec<_> =
            workers.forget_expired(later).into_iter().map(|lost| lost.worker).collect();
        assert_eq!(lost, [id(1)]);
    }

    #[test]
    fn forged_presences_are_bounded_and_the_oldest_worker_makes_room() {
        let mut workers = Workers::default();
        for number in 0..MAX_WORKERS + 1_000 {
            // A worker that is seen again and again stays.
            workers.record(presence(0, &["real"], 2), Duration::ZERO);
            workers.record(presence(number + 1, &["forged"], u32::MAX), Duration::ZERO);
        }
        assert_eq!(workers.seen.len(), MAX_WORKERS);
        assert_eq!(workers.by_age.len(), MAX_WORKERS);
        assert_eq!(workers.slots(&pool("real"), false), 2);
        assert_eq!(u64::from(workers.slots(&pool("forged"), false)), MAX_POOL_SLOTS);
    }
}
