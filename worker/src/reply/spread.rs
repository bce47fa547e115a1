//! Results whose blocks go through queues: the blocks are published first (rule 30).

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use phalanx_core::{
    blocks,
    broker::{Broker, PublishError, ShuffleQueue},
    id::{JobId, LeaderId},
    wire::{
        BlockMessage, BlockName, BlockRoute, ResultMessage, Scatter, SpreadBlocks, TaskHeader,
        TaskOutlet, WireError,
    },
};
use tokio::time::Instant;

use super::window::WindowPermit;
use crate::leaders::Leaders;

/// The blocks of a task that are published at once.
const BLOCKS_AT_ONCE: usize = 64;

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

/// Publishes a block until its queue has it, its job is dead, or it has had no queue for too long.
pub(super) async fn publish_block(
    broker: &dyn Broker,
    leader: LeaderId,
    queue: ShuffleQueue,
    body: Bytes,
    is_dead: impl Fn() -> bool,
) -> Result<(), SpreadError> {
    let (mut unroutable, mut why) = (None, SpreadError::Dead);
    let goes_on = |has_no_queue: bool| {
        if !has_no_queue {
            unroutable = None;
        } else if unroutable.get_or_insert_with(Instant::now).elapsed() >= LONGEST_UNROUTABLE {
            why = SpreadError::Unroutable;
            return false;
        }
        !is_dead()
    };
    match blocks::publish(broker, leader, &queue, body, goes_on).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(why),
        Err(error) => Err(SpreadError::Refused(error)),
    }
}
