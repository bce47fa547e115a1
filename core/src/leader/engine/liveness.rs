//! Who is there, how time passes, and why a job does not move.

use std::time::Duration;

use super::Engine;
use crate::{
    broker::Pool,
    error::Error,
    id::{JobId, WorkerId},
    leader::{
        event::{JobEvent, Stall},
        job::JobState,
        protocol::Action,
    },
    wire::Presence,
};

/// A worker that was not heard of for so long is not counted.
const FRESH: Duration = Duration::from_secs(15);
/// A task is hopeless when every live worker has refused it for so long (rule 10).
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// A worker, as its presence tells of it.
#[derive(Debug, Clone)]
pub(super) struct WorkerSeen {
    pools: Vec<Pool>,
    slots: u32,
    async_slots: u32,
    /// When it was last heard of.
    seen: Duration,
}

impl WorkerSeen {
    fn serves_like(&self, other: &Self) -> bool {
        (&self.pools, self.slots, self.async_slots)
            == (&other.pools, other.slots, other.async_slots)
    }
}

/// The live slots of a pool, by kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slots {
    blocking: u32,
    asynchronous: u32,
}

impl Engine {
    pub(super) fn presence(&mut self, presence: Presence) {
        let seen = WorkerSeen {
            pools: presence.pools,
            slots: presence.slots,
            async_slots: presence.async_slots,
            seen: self.wall,
        };
        let known = self.workers.insert(presence.worker, seen);
        let changed = known.is_none_or(|known| !known.serves_like(&self.workers[&presence.worker]));
        if changed {
            self.count_slots();
        }
    }

    pub(super) fn bye(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
        self.count_slots();
    }

    /// The live slots of a pool, of the kind that the stage uses.
    pub(super) fn slots(&self, pool: &Pool, is_async: bool) -> u32 {
        let counted = self.slots.get(pool).copied().unwrap_or_default();
        if is_async { counted.asynchronous } else { counted.blocking }
    }

    fn count_slots(&mut self) {
        self.slots.clear();
        for worker in self.workers.values() {
            for pool in &worker.pools {
                let sum = self.slots.entry(pool.clone()).or_default();
                sum.blocking = sum.blocking.saturating_add(worker.slots);
                sum.asynchronous = sum.asynchronous.saturating_add(worker.async_slots);
            }
        }
    }

    pub(super) fn tick(&mut self, elapsed: Duration) {
        let before = self.wall;
        self.wall += elapsed;
        if self.health.is_well() {
            self.now += elapsed;
        }
        // Once a second is enough for what counts in seconds.
        if before.as_secs() == self.wall.as_secs() {
            return;
        }
        let wall = self.wall;
        if self.health.is_well() {
            let before = self.workers.len();
            self.workers.retain(|_, worker| wall - worker.seen < FRESH);
            if self.workers.len() != before {
                self.count_slots();
            }
        }
        self.look_at_refusals();
        self.look_at_stalls();
    }

    /// Fails the jobs of tasks that every live worker has refused for a while (rule 10).
    fn look_at_refusals(&mut self) {
        let mut hopeless = Vec::new();
        for number in &self.refused {
            let Some(task) = self.tasks.get(number) else { continue };
            let mut live = self
                .workers
                .iter()
                .filter(|(_, worker)| worker.pools.contains(&task.pool))
                .map(|(id, _)| task.refusals.get(id))
                .peekable();
            let refused_long = |refusal: Option<&(Duration, _)>| {
                refusal.is_some_and(|(first, _)| self.now.saturating_sub(*first) >= REFUSED_FOR)
            };
            if live.peek().is_some() && live.all(refused_long) {
                hopeless.push(*number);
            }
        }
        for number in hopeless {
            let Some(task) = self.tasks.get(&number) else { continue };
            let Some(job) = self.jobs.get(&task.job) else { continue };
            let (operation, _) = super::element::first(job, task);
            let refusals =
                task.refusals.iter().map(|(id, (_, refusal))| (*id, refusal.clone())).collect();
            let error = Error::Refused { job: job.id, operation, refusals };
            self.end(job.id, Err(error));
        }
    }

    fn look_at_stalls(&mut self) {
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            let Some(job) = self.jobs.get(&id) else { continue };
            let silent = self.wall.saturating_sub(job.moved);
            if silent
                < self.settings.stall_after.min(self.settings.patience.unwrap_or(Duration::MAX))
            {
                continue;
            }
            let stall = self.cause(job, silent);
            let impatient = self.settings.patience.is_some_and(|patience| silent >= patience);
            if impatient && !stall.is_own_doing() {
                self.end(id, Err(Error::Stalled { job: id, cause: stall.to_string() }));
                continue;
            }
            let known = job.stall.as_ref().map(std::mem::discriminant);
            if known != Some(std::mem::discriminant(&stall)) {
                tracing::warn!(job = %id, cause = %stall, "job does not move");
                let event = JobEvent::Stalled(stall.clone());
                self.actions.push(Action::Emit { job: id, event });
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.stall = Some(stall);
                }
            }
        }
    }

    /// What a job waits for.
    fn cause(&self, job: &JobState, silent: Duration) -> Stall {
        if !self.health.connected {
            return Stall::Disconnected;
        }
        if let Some(reason) = &self.health.blocked {
            return Stall::Blocked { reason: reason.clone() };
        }
        let tasks = || job.tasks.iter().filter_map(|number| self.tasks.get(number));
        if let Some(task) = tasks().find(|task| !task.refusals.is_empty()) {
            let (operation, _) = super::element::first(job, task);
            let last = task.refusals.values().max_by_key(|(first, _)| *first);
            return Stall::Refused {
                operation,
                workers: task.refusals.len(),
                reason: last.map(|(_, refusal)| refusal.to_string()).unwrap_or_default(),
            };
        }
        // Numbers grow: the first is the oldest.
        if let Some(oldest) = tasks().next() {
            let pool = oldest.pool.clone();
            let out = tasks().filter(|task| task.pool == pool).count() as u32;
            if self.slots(&pool, false) == 0 {
                return Stall::NoWorkers { pool, tasks: out };
            }
            return Stall::Unanswered { pool, tasks: out, silent };
        }
        if job.undelivered > 0 {
            return Stall::ReaderSlow { bytes: job.undelivered };
        }
        Stall::InputSlow
    }
}
