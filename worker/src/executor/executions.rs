//! The executions that this worker holds.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use phalanx_core::id::{CopyId, ExecutionId, JobId, LeaderId};
use tokio::{sync::Notify, time::Instant};

use crate::{
    execution::{Running, Stop},
    lock::lock,
    reply::SharedDelivery,
};

/// The executions that this worker holds, waiting or running. The prefetch and the leased slots
/// bound their number.
#[derive(Default)]
pub(crate) struct Executions {
    held: Mutex<HashMap<ExecutionId, Arc<Running>>>,
    /// Executions that have ended, but whose replies wait for their blocks. The window of blocks
    /// bounds their number.
    publishing: Mutex<Vec<Publishing>>,
    /// Decayed mean of the run times of blocking executions.
    mean_run_time: Mutex<Option<Duration>>,
    /// Notified when an execution with a timeout for the watchdog begins.
    timed_begun: Notify,
}

/// An execution that has ended, but whose reply waits for its blocks.
#[derive(Clone)]
pub(crate) struct Publishing {
    pub(crate) leader: LeaderId,
    pub(crate) copy: CopyId,
    pub(crate) execution: ExecutionId,
    pub(crate) arrived: Instant,
    /// Dropped once the broker has the reply.
    pub(crate) delivery: Weak<SharedDelivery>,
}

impl Executions {
    pub(super) fn insert(&self, running: &Arc<Running>) {
        self.held().insert(running.id(), Arc::clone(running));
    }

    pub(super) fn get(&self, id: ExecutionId) -> Option<Arc<Running>> {
        self.held().get(&id).cloned()
    }

    /// Wakes the watchdog if the execution, which begins, has a timeout.
    pub(super) fn begun(&self, running: &Running) {
        if running.pipeline.watched_timeout().is_some() {
            self.timed_begun.notify_one();
        }
    }

    /// The execution has ended.
    pub(super) fn remove(&self, running: &Running) {
        self.held().remove(&running.id());
        if let Some(delivery) = running.publishing() {
            let header = &running.task.header;
            lock(&self.publishing).push(Publishing {
                leader: header.leader,
                copy: header.copy,
                execution: running.id(),
                arrived: running.arrived(),
                delivery,
            });
        }
    }

    /// The executions that have ended, but whose replies wait for their blocks.
    pub(crate) fn publishing(&self) -> Vec<Publishing> {
        let mut publishing = lock(&self.publishing);
        publishing.retain(|it| it.delivery.strong_count() > 0);
        publishing.clone()
    }

    /// Adds a run time to the mean.
    pub(super) fn record_run_time(&self, run_time: Duration) {
        let mut mean = lock(&self.mean_run_time);
        *mean = Some(mean.map_or(run_time, |mean| (mean * 7 + run_time) / 8));
    }

    /// The decayed mean of the run times of blocking executions; `None` before the first.
    pub(crate) fn mean_run_time(&self) -> Option<Duration> {
        *lock(&self.mean_run_time)
    }

    /// A snapshot of all executions.
    pub(crate) fn all(&self) -> Vec<Arc<Running>> {
        self.held().values().cloned().collect()
    }

    /// Those with a timeout for the watchdog.
    pub(crate) fn timed(&self) -> Vec<(Arc<Running>, Duration)> {
        let timed = |running: &Arc<Running>| {
            Some((Arc::clone(running), running.pipeline.watched_timeout()?))
        };
        self.held().values().filter_map(timed).collect()
    }

    /// Resolves when an execution with a timeout for the watchdog begins. Cancel-safe.
    pub(crate) async fn timed_begun(&self) {
        self.timed_begun.notified().await;
    }

    /// Stops the running executions whose job `is_dead`, and acks the waiting ones unrun (rule 9).
    pub(crate) fn stop_dead(&self, is_dead: impl Fn(LeaderId, JobId) -> bool) {
        self.held().retain(|_, running| {
            let header = &running.task.header;
            if !is_dead(header.leader, header.job) {
                return true;
            }
            match running.take_unbegun() {
                Some(pending) => pending.discard(),
                None => running.stop(Stop::Cancelled),
            }
            running.has_begun()
        });
    }

    fn held(&self) -> MutexGuard<'_, HashMap<ExecutionId, Arc<Running>>> {
        lock(&self.held)
    }
}
