//! Outputs that go through the queue of their task while it runs (rule 39).

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use phalanx_core::{
    broker::{Broker, ShuffleQueue},
    id::{ExecutionId, JobId, LeaderId, TaskNumber},
    wire::{MAX_BLOCKS_AHEAD, OutputHeader, OutputMessage, TaskHeader},
};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::{
    spread::{SpreadError, publish_block, unencodable},
    window::WindowPermit,
};
use crate::leaders::Leaders;

/// The outputs of one execution on their way to the queue of its task.
pub(crate) struct OutputStream {
    job: JobId,
    task: TaskNumber,
    execution: ExecutionId,
    /// The number of the blocks so far.
    blocks: u32,
    /// Unbounded: the window bounds what waits in it.
    sender: mpsc::UnboundedSender<(OutputMessage, Option<Arc<WindowPermit>>)>,
    published: AbortOnDropHandle<Result<(), SpreadError>>,
}

impl OutputStream {
    /// Begins to publish the outputs of an execution.
    pub(super) fn begin(
        broker: Arc<dyn Broker>,
        leaders: Arc<Leaders>,
        tokio: &Handle,
        task: &TaskHeader,
        execution: ExecutionId,
    ) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (leader, job) = (task.leader, task.job);
        let published = tokio.spawn(async move {
            let is_dead = || leaders.is_dead(leader, job) || leaders.is_silent(leader);
            let blocks =
                stream::unfold(receiver, async |mut receiver: mpsc::UnboundedReceiver<_>| {
                    Some((receiver.recv().await?, receiver))
                });
            let publish = |(block, permit): (OutputMessage, Option<Arc<WindowPermit>>)| {
                publish_outputs(&*broker, leader, block, permit, &is_dead)
            };
            // In order: the leader holds what comes before its turn.
            blocks.map(publish).buffered(MAX_BLOCKS_AHEAD as usize).try_collect().await
        });
        let (task, published) = (task.copy.task, AbortOnDropHandle::new(published));
        Self { job, task, execution, blocks: 0, sender, published }
    }

    /// Publishes the encodings of this many outputs, which take up `permit`.
    pub(crate) fn push(&mut self, values: Bytes, outputs: u32, permit: Option<&Arc<WindowPermit>>) {
        let Self { job, task, execution, blocks: number, .. } = *self;
        let header = OutputHeader { job, task, execution, number, outputs };
        // Fails if publishing has failed, which `finish` returns.
        let _ = self.sender.send((OutputMessage { header, values }, permit.cloned()));
        self.blocks += 1;
    }

    /// The number of blocks so far.
    pub(crate) fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Whether a block will never have its queue.
    pub(crate) fn has_failed(&self) -> bool {
        self.published.is_finished()
    }

    /// Resolves when the queue has all blocks.
    pub(super) async fn finish(self) -> Result<(), SpreadError> {
        drop(self.sender);
        // It does not panic, and ends early only with the worker.
        self.published.await.unwrap_or(Err(SpreadError::Dead))
    }
}

async fn publish_outputs(
    broker: &dyn Broker,
    leader: LeaderId,
    block: OutputMessage,
    _permit: Option<Arc<WindowPermit>>,
    is_dead: impl Fn() -> bool,
) -> Result<(), SpreadError> {
    let OutputHeader { job, task, .. } = block.header;
    let body = block.encode().map_err(unencodable)?;
    drop(block);
    publish_block(broker, leader, ShuffleQueue::Output { job, task }, body, is_dead).await
}
