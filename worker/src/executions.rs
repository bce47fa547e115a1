//! What is held and runs now.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use phalanx_core::id::{ExecutionId, JobId, LeaderId};
use tokio::sync::Notify;

use crate::execution::{Running, Stop};

/// What is held, waiting or running, and how long it took of late. Bounded by the prefetch and what
/// is lent.
#[derive(Default)]
pub(crate) struct Executions {
    running: Mutex<HashMap<ExecutionId, Arc<Running>>>,
    /// Decayed mean of the run times of blocking executions.
    mean: Mutex<Option<Duration>>,
    /// Something began that the watchdog must look after.
    watched: Notify,
}

impl Executions {
    pub(crate) fn insert(&self, running: &Arc<Running>) {
        self.lock().insert(running.id(), Arc::clone(running));
    }

    /// It begins: from now on it is watched.
    pub(crate) fn begins(&self, running: &Running) {
        if running.pipeline.watched_timeout().is_some() {
            self.watched.notify_one();
        }
    }

    pub(crate) fn remove(&self, running: &Running) {
        self.lock().remove(&running.id());
    }

    pub(crate) fn learn(&self, took: Duration) {
        let mut mean = self.mean.lock().unwrap_or_else(PoisonError::into_inner);
        *mean = Some(mean.map_or(took, |mean| (mean * 7 + took) / 8));
    }

    pub(crate) fn mean(&self) -> Option<Duration> {
        *self.mean.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, as they are now.
    pub(crate) fn all(&self) -> Vec<Arc<Running>> {
        self.lock().values().cloned().collect()
    }

    /// Those with a timeout that somebody must look after.
    pub(crate) fn watched(&self) -> Vec<(Arc<Running>, Duration)> {
        let watched = |running: &Arc<Running>| {
            Some((Arc::clone(running), running.pipeline.watched_timeout()?))
        };
        self.lock().values().filter_map(watched).collect()
    }

    /// Resolves when something began that must be looked after. Cancel-safe.
    pub(crate) async fn something_watched(&self) {
        self.watched.notified().await;
    }

    /// Stops those whose job `is_dead`; those that wait are acked unrun (rule 9).
    pub(crate) fn stop_dead(&self, is_dead: impl Fn(LeaderId, JobId) -> bool) {
        self.lock().retain(|_, running| {
            let header = &running.task.header;
            if !is_dead(header.leader, header.job) {
                return true;
            }
            match running.hand_back() {
                Some(ticket) => ticket.forget(),
                None => running.stop(Stop::Cancelled),
            }
            running.has_begun()
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ExecutionId, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
