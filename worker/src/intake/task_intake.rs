//! The state that the consumers of all pools share.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::Pipelines;
use crate::{executor::Executor, leaders::Leaders, reply::ReplySender, shared::Shared};

/// The state that the consumers of all pools share: everything that takes a delivery to a reply or
/// to the executor.
pub(crate) struct TaskIntake {
    pub(super) shared: Arc<Shared>,
    pub(super) leaders: Arc<Leaders>,
    pub(super) replies: Arc<ReplySender>,
    pub(super) executor: Arc<Executor>,
    pub(super) pipelines: Pipelines,
    /// Pools with a consumer. Relaxed: readiness is a snapshot.
    consuming: AtomicUsize,
}

impl TaskIntake {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        leaders: &Arc<Leaders>,
        replies: &Arc<ReplySender>,
        executor: &Arc<Executor>,
        pipelines: Pipelines,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            leaders: Arc::clone(leaders),
            replies: Arc::clone(replies),
            executor: Arc::clone(executor),
            pipelines,
            consuming: AtomicUsize::new(0),
        }
    }

    /// Whether the worker is connected, consumes from all its pools and does not drain.
    pub(crate) fn is_ready(&self) -> bool {
        self.consuming.load(Ordering::Relaxed) == self.shared.options().pools.len()
            && !self.shared.shutdown().is_draining()
            && self.shared.is_connected()
    }

    pub(super) fn consumer_started(&self) {
        self.consuming.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn consumer_ended(&self) {
        self.consuming.fetch_sub(1, Ordering::Relaxed);
    }
}
