//! Gathers the partitions of a task from their queues, before it takes a slot (rules 34 to 38).

mod collection;
mod gathered_task;
#[cfg(test)]
mod interruption_tests;
mod memory;
mod partition;
#[cfg(test)]
mod slot_tests;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use bytes::BytesMut;
use futures::{StreamExt, TryStreamExt, stream};
use phalanx_core::{
    broker::{Broker, ShuffleQueue},
    wire::{Gather, QueuedGather, ReturnReason, TaskHeader, TaskInlet},
};

use self::{collection::Collection, partition::LastBlock};
pub(crate) use self::{
    gathered_task::GatheredTask,
    memory::{GatherMemory, GatherPermit},
};

/// The queues of one task that are read at once.
const QUEUES_AT_ONCE: usize = 4;

/// Gathers the partitions of a task.
///
/// Cancel-safe: what was read goes back into the queues.
///
/// # Errors
/// Why the task is to be returned.
pub(crate) async fn gather(
    broker: &dyn Broker,
    task: &TaskHeader,
    queued: &QueuedGather,
) -> Result<GatheredTask, ReturnReason> {
    let QueuedGather { grouping, exchange, first_side, layout, .. } = *queued;
    let (job, winners) = (task.job, HashSet::from_iter(queued.winners.iter().copied()));
    let last = LastBlock::now();
    let read = |announced| {
        let collection = Collection::new(job, exchange, announced, &winners);
        let partition = announced.partition;
        let queue = ShuffleQueue::Partition { job, exchange, partition };
        partition::read(broker, queue, collection, &last)
    };
    let all = stream::iter(queued.partitions.iter().copied().map(read));
    let all: Vec<Collection<'_>> = all.buffered(QUEUES_AT_ONCE).try_collect().await?;
    let mut payload =
        BytesMut::with_capacity(all.iter().map(|collection| collection.bytes() as usize).sum());
    let partitions = all.into_iter().map(|it| it.finish(first_side, &mut payload)).collect();
    Ok(GatheredTask {
        gather: Gather { grouping, partitions },
        payload: payload.freeze(),
        layout,
        ranges: task.ranges.clone(),
    })
}

/// What a task gathers, if it reads queues.
pub(crate) fn queued(task: &TaskHeader) -> Option<&QueuedGather> {
    match &task.inlet {
        TaskInlet::Queues(queued) => Some(queued),
        _ => None,
    }
}
