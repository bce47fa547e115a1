//! What executions publish to queues besides their replies.

use std::sync::Arc;

use phalanx_core::{broker::Broker, id::ExecutionId, wire::TaskHeader};
use tokio::runtime::Handle;

use super::{
    output_stream::OutputStream,
    window::{BlockWindow, WindowPermit},
};
use crate::leaders::Leaders;

/// Publishes blocks and outputs of one worker within one window.
pub(crate) struct BlockPublisher {
    window: BlockWindow,
    broker: Arc<dyn Broker>,
    leaders: Arc<Leaders>,
    /// Slot threads do not belong to Tokio.
    tokio: Handle,
}

impl BlockPublisher {
    /// Call it in a Tokio runtime.
    pub(crate) fn new(broker: Arc<dyn Broker>, leaders: Arc<Leaders>) -> Self {
        Self { window: BlockWindow::new(), broker, leaders, tokio: Handle::current() }
    }

    /// Waits until the window has room for this many bytes.
    ///
    /// Cancel-safe, but the place in the queue is lost.
    pub(crate) async fn enter(&self, bytes: usize) -> Option<WindowPermit> {
        self.window.enter(bytes).await
    }

    /// Begins to publish the outputs of an execution while it runs.
    pub(crate) fn begin(&self, task: &TaskHeader, execution: ExecutionId) -> OutputStream {
        let (broker, leaders) = (Arc::clone(&self.broker), Arc::clone(&self.leaders));
        OutputStream::begin(broker, leaders, &self.tokio, task, execution)
    }
}
