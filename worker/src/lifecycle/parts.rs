//! The parts of one worker.

use std::{io, sync::Arc};

use phalanx_core::{broker::Broker, registry::Registry};
use tokio::sync::mpsc;

use crate::{
    WorkerOptions,
    executor::Executor,
    intake::{Pipelines, PrefetchController, TaskIntake},
    leaders::Leaders,
    process_kind::ProcessKind,
    reply::{OutgoingReply, ReplySender},
    shared::Shared,
};

/// The parts of one worker. Each owns its state; [`serve`](super::serve) runs them.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(super) leaders: Arc<Leaders>,
    pub(super) replies: Arc<ReplySender>,
    pub(super) executor: Arc<Executor>,
    pub(crate) intake: Arc<TaskIntake>,
}

impl Parts {
    /// The parts, and the replies to publish.
    ///
    /// # Errors
    /// If the operating system creates no threads.
    pub(crate) fn new(
        broker: Arc<dyn Broker>,
        options: WorkerOptions,
        registry: &'static Registry,
        process: ProcessKind,
    ) -> io::Result<(Self, mpsc::UnboundedReceiver<OutgoingReply>)> {
        // The deliveries that the consumers of all pools may hold, twice because those of a lost
        // connection may still wait while others arrive on the next, plus one step of each
        // asynchronous execution.
        let max_prefetch = PrefetchController::max_prefetch(options.slots, options.async_slots);
        let max_queued = 2 * options.pools.len() * max_prefetch + options.async_slots;
        let shared = Arc::new(Shared::new(broker, options, registry, process));
        let leaders = Arc::new(Leaders::default());
        let (replies, outgoing) = ReplySender::new(shared.worker());
        let executor = Executor::start(&shared, &leaders, max_queued)?;
        let pipelines = Pipelines::new(registry);
        let intake = Arc::new(TaskIntake::new(&shared, &leaders, &replies, &executor, pipelines));
        Ok((Self { shared, leaders, replies, executor, intake }, outgoing))
    }
}
