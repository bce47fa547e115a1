//! Gathers the partitions of a task from their queues, before it takes a slot (rules 34 to 38).

mod arrange;
mod collection;
mod gathered_task;
#[cfg(test)]
mod interruption_tests;
mod memory;
mod part;
mod partition;
#[cfg(test)]
mod slot_tests;
#[cfg(test)]
mod spill_tests;
mod spool;
mod store;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, io, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};
use phalanx_core::{
    broker::{Broker, ShuffleQueue},
    wire::{QueuedGather, ReturnReason, TaskHeader, TaskInlet},
};
use tokio_util::sync::CancellationToken;

use self::{
    arrange::{Arranging, OrderedBlocks},
    collection::Collection,
    part::{Part, unspillable},
    partition::LastBlock,
    spool::{Spool, off_async_threads},
};
pub(crate) use self::{
    gathered_task::GatheredTask,
    memory::{GatherMemory, GatherPermit},
    part::GatheredPartition,
    store::{Store, StoreWriter},
};

/// So few bytes are copied sooner than handed to another thread.
const COPIED_AT_ONCE: u64 = 256 << 10;

/// The queues of one task that are read at once.
const QUEUES_AT_ONCE: usize = 4;

/// Gathers the partitions of a task, in memory or on disk.
///
/// Cancel-safe: what was read goes back into the queues.
///
/// # Errors
/// Why the task is to be returned.
pub(crate) async fn gather(
    broker: &dyn Broker,
    memory: &GatherMemory,
    mut permit: GatherPermit,
    task: &TaskHeader,
    queued: &QueuedGather,
) -> Result<(GatheredTask, GatherPermit), ReturnReason> {
    let QueuedGather { grouping, exchange, first_side, of, .. } = *queued;
    let (job, winners) = (task.job, HashSet::from_iter(queued.winners.iter().copied()));
    let spool = match permit.spills() {
        true => {
            let spool = Spool::create(memory.directory(), memory.chunk()).await;
            Some(spool.map_err(unspillable)?)
        }
        false => None,
    };
    let last = LastBlock::now();
    let read = |announced| {
        let collection = Collection::new(job, exchange, announced, &winners, spool.clone());
        let partition = announced.partition;
        let queue = ShuffleQueue::Partition { job, exchange, partition };
        partition::read(broker, queue, collection, &last)
    };
    let all = stream::iter(queued.partitions.iter().copied().map(read));
    let all: Vec<Collection<'_>> = all.buffered(QUEUES_AT_ONCE).try_collect().await?;
    let bytes = all.iter().map(Collection::bytes).sum();
    let all = all.into_iter().map(|collection| collection.finish(first_side)).collect();
    let cancelled = CancellationToken::new();
    let _dropped = cancelled.clone().drop_guard();
    let arranging = Arranging { grouping, of, cancelled };
    let (mut partitions, store) = arrange(&arranging, all, bytes, spool, memory).await?;
    if permit.spills() {
        let largest = largest_part(&partitions).map_or(0, |(_, part)| part.size());
        if largest > memory.limit() {
            return Err(too_large(arranging, partitions, store, memory.limit()).await);
        }
        permit = memory.exchange(permit, largest).await.ok_or(ReturnReason::NotStarted)?;
    }
    if partitions.iter().any(|partition| partition.parts.len() > 1) {
        let store = store.clone();
        let work = move || Ok(arranging.count(&mut partitions, &store).map(|()| partitions));
        partitions = off_async_threads(work).await.map_err(unspillable)??;
    }
    if !permit.spills() {
        permit.gathered();
    }
    Ok((GatheredTask::new(task, queued, partitions, store), permit))
}

/// Brings the blocks of a task, which have this many bytes, into order.
async fn arrange(
    arranging: &Arranging,
    all: Vec<OrderedBlocks>,
    bytes: u64,
    spool: Option<Arc<Spool>>,
    memory: &GatherMemory,
) -> Result<(Vec<GatheredPartition>, Store), ReturnReason> {
    if spool.is_none() && bytes <= COPIED_AT_ONCE {
        return arranging.arrange(all, &Store::default(), None);
    }
    let directory = spool.is_some().then(|| memory.directory().to_owned());
    let read = spool.and_then(|spool| spool.finish()).unwrap_or_default();
    let arranging = arranging.clone();
    let work = move || Ok(arranging.arrange(all, &read, directory.as_deref()));
    off_async_threads(work).await.map_err(unspillable)?
}

fn largest_part(partitions: &[GatheredPartition]) -> Option<(u32, &Part)> {
    let parts = partitions.iter().flat_map(|it| it.parts.iter().map(|part| (it.partition, part)));
    parts.max_by_key(|(_, part)| part.size())
}

/// Why a task is returned whose largest part is larger than `limit`.
async fn too_large(
    arranging: Arranging,
    partitions: Vec<GatheredPartition>,
    store: Store,
    limit: u64,
) -> ReturnReason {
    let work = move || {
        let largest = largest_part(&partitions).ok_or(io::ErrorKind::NotFound)?;
        Ok(arranging.too_large(largest, &store, limit))
    };
    off_async_threads(work).await.unwrap_or_else(unspillable)
}

/// What a task gathers, if it reads queues.
pub(crate) fn queued(task: &TaskHeader) -> Option<&QueuedGather> {
    match &task.inlet {
        TaskInlet::Queues(queued) => Some(queued),
        _ => None,
    }
}
