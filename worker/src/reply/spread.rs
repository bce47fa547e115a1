//! Results whose blocks go through queues: the blocks are published first (rule 30).

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use phalanx_core::{
    broker::{Address, Broker, Message, MessageKind, Properties, PublishError, ShuffleQueue},
    id::{JobId, LeaderId},
    wire::{
        BlockMessage, BlockName, BlockRoute, ResultMessage, Scatter, SpreadBlocks, TaskHeader,
        TaskOutlet, WIRE_VERSION, WireError,
    },
};
use tokio::time::Instant;

use super::window::WindowPermit;
use crate::leaders::Leaders;

/// The blocks of a task that are published at once.
const BLOCKS_AT_ONCE: usize = 64;
/// The first pause before a block is published again. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The blocks of a result, which go through queues.
pub(crate) struct SpreadReply {
    leader: LeaderId,
    job: JobId,
    blocks: Vec<BlockMessage>,
    /// Their part of the window; `None` if the task was stopped while it waited.
    _permit: Option<WindowPermit>,
}

/// For how long a block may have no queue: a queue that was unbound is bound again long before, and
/// one that is gone ends its job, if that has not ended.
const LONGEST_UNROUTABLE: Duration = Duration::from_secs(60);

/// Why the blocks of a result are not in their queues.
pub(super) enum SpreadError {
    /// Nobody waits for them any more.
    Dead,
    /// One has no queue.
    Unroutable,
    /// The broker does not take them.
    Refused(PublishError),
}

impl SpreadReply {
    /// Takes the blocks out of a result, if they go through queues. `None` in place of the result
    /// if it contradicts its task.
    pub(crate) fn split(
        task: &TaskHeader,
        mut message: ResultMessage,
        permit: Option<WindowPermit>,
    ) -> Option<(ResultMessage, Option<Self>)> {
        let TaskOutlet::Exchange(Scatter {
            route: BlockRoute::Spread { exchange, feeder }, ..
        }) = task.outlet
        else {
            return Some((message, None));
        };
        let header = &mut message.header;
        let size: usize = header.blocks.iter().map(|block| block.bytes as usize).sum();
        let mut payload = message.payload.split_off(message.payload.len().checked_sub(size)?);
        let mut totals = BTreeMap::<u32, SpreadBlocks>::new();
        let mut blocks = Vec::with_capacity(header.blocks.len());
        for (number, block) in (0..).zip(std::mem::take(&mut header.blocks)) {
            let partition = block.partition;
            let none = SpreadBlocks { partition, blocks: 0, rows: 0, bytes: 0 };
            let total = totals.entry(partition).or_insert(none);
            total.blocks += 1;
            total.rows += u64::from(block.rows);
            total.bytes += u64::from(block.bytes);
            let name = BlockName {
                job: task.job,
                exchange,
                feeder,
                partition,
                task: task.copy.task,
                execution: header.execution,
                number,
                first: task.position(block.first, &header.lists)?,
            };
            blocks.push(BlockMessage { name, block: payload.split_to(block.bytes as usize) });
        }
        header.spread = totals.into_values().collect();
        let (leader, job) = (task.leader, task.job);
        Some((message, Some(Self { leader, job, blocks, _permit: permit })))
    }

    /// Publishes all blocks, and resolves when their queues have them. Each is published again
    /// under its number, however often, until its job is dead or it has had no queue for too long:
    /// those of a late copy whose exchange has been read never get one.
    pub(super) async fn publish(
        self,
        broker: &dyn Broker,
        leaders: &Leaders,
    ) -> Result<(), SpreadError> {
        let is_dead = || leaders.is_dead(self.leader, self.job) || leaders.is_silent(self.leader);
        let publish = |block: BlockMessage| {
            let BlockName { job, exchange, partition, .. } = block.name;
            let queue = ShuffleQueue::Partition { job, exchange, partition };
            let (leader, is_dead) = (self.leader, &is_dead);
            async move {
                let body = block.encode().map_err(unencodable)?;
                drop(block);
                publish_block(broker, leader, queue, body, is_dead).await
            }
        };
        let all = stream::iter(self.blocks.into_iter().map(publish));
        all.buffer_unordered(BLOCKS_AT_ONCE).try_collect().await
    }
}

/// Why a block that is too large to be encoded is not published.
pub(super) fn unencodable(error: WireError) -> SpreadError {
    SpreadError::Refused(PublishError::Refused { reason: error.to_string() })
}

/// Publishes a block until its queue has it.
pub(super) async fn publish_block(
    broker: &dyn Broker,
    leader: LeaderId,
    queue: ShuffleQueue,
    body: Bytes,
    is_dead: impl Fn() -> bool,
) -> Result<(), SpreadError> {
    let properties = Properties {
        kind: Some(MessageKind::Block),
        wire_version: WIRE_VERSION,
        reply_to: Some(leader),
        persistent: true,
        ..Properties::default()
    };
    let (address, mut pause) = (Address::blocks(&queue), FIRST_PAUSE);
    let mut unroutable = None;
    loop {
        let message = Message { properties: properties.clone(), body: body.clone() };
        match broker.publish_mandatory(&address, message).await {
            Ok(true) => return Ok(()),
            Ok(false) => {
                let since = *unroutable.get_or_insert_with(Instant::now);
                if since.elapsed() >= LONGEST_UNROUTABLE {
                    return Err(SpreadError::Unroutable);
                }
                tracing::debug!(%queue, "a block has no queue; trying again");
            }
            Err(error @ (PublishError::Lost | PublishError::Nacked { .. })) => {
                unroutable = None;
                tracing::debug!(%queue, %error, "could not publish a block; trying again");
            }
            Err(error) => return Err(SpreadError::Refused(error)),
        }
        if is_dead() {
            return Err(SpreadError::Dead);
        }
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
        // Fails if the broker object is gone; then publishing fails too.
        let _ = broker.health().wait_for(|health| health.is_well()).await;
    }
}
