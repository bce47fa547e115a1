//! Elements that exchanges made: their names in errors, and their encodings for dead letters. Only
//! workers see them, so the leader gathers the partition of one that failed.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    fold::Partial,
    job::{Batch, JobState, Partitions, in_branch},
    table::{Task, Work},
};
use crate::{
    gather::List,
    operation::{Group, KeyPrefix},
    plan::Inlet,
    wire::{GatheredElement, ListEnd, place_in_list},
};

/// The most bytes of blocks that are gathered to name an element. Only exchanges in memory have
/// larger partitions.
const MAX_GATHERED: usize = 64 << 20;

/// How an element is named: by its index, and by its group if an exchange made it.
pub(super) struct ElementName {
    pub(super) index: u64,
    pub(super) group: Option<Group>,
}

/// Keeps what a reply says about elements of its batch that failed, each with its batch offset: the
/// leader sees no rows of a spread exchange.
pub(super) fn keep_reported<'a>(
    job: &mut JobState,
    stage: usize,
    batch: &Batch,
    reported: impl Iterator<Item = (u32, &'a GatheredElement)>,
) {
    if let Some(exchange) = job.read_by(stage) {
        let place = |(offset, element): (u32, &GatheredElement)| {
            (batch.position(offset as usize), element.clone())
        };
        job.exchanges[exchange].keep_reported(reported.map(place).collect());
    }
}

/// As [`keep_reported`], about the element at this batch offset of a task that was not run to its
/// end.
pub(super) fn keep_reported_of_task(
    job: &mut JobState,
    task: &Task,
    offset: u32,
    element: &GatheredElement,
) {
    if let Work::Run { batch, .. } = &task.work {
        keep_reported(job, task.stage, batch, std::iter::once((offset, element)));
    }
}

/// The reply is handled.
pub(super) fn forget_reported(job: &mut JobState, stage: usize) {
    if let Some(exchange) = job.read_by(stage) {
        job.exchanges[exchange].keep_reported(Vec::new());
    }
}

/// The name of the element at this batch offset. Its key is part of it while the leader holds its
/// partition.
pub(super) fn name(job: &mut JobState, stage: usize, batch: &Batch, offset: usize) -> ElementName {
    let mut name = name_without_key(job, stage, batch, offset);
    if let Some(group) = &mut name.group
        && let Some(exchange) = job.read_by(stage)
    {
        let key = |list: &List| list.key(group.element).map(KeyPrefix::of);
        group.key = match job.exchanges[exchange].reported(group.partition, group.element) {
            Some(reported) => Some(reported.key.clone()),
            None => last_list(job, stage, group.partition).and_then(|list| key(&list)),
        };
    }
    name
}

/// As [`name`], without the key.
pub(super) fn name_without_key(
    job: &JobState,
    stage: usize,
    batch: &Batch,
    offset: usize,
) -> ElementName {
    // In later stages, that of the element of the list from which it was made.
    let index = batch.index(offset);
    let is_behind = matches!(job.plan.origin(stage), Inlet::Exchange(_));
    ElementName { index, group: is_behind.then(|| group_at(index)) }
}

/// The name of the first element of partial results.
pub(super) fn name_of_partials(job: &JobState, stage: usize, partials: &[Partial]) -> ElementName {
    let index = in_branch(partials.first().map_or(0, |partial| partial.from));
    ElementName { index, group: job.read_by(stage).map(|_| group_at(index)) }
}

/// The group at this position of a stage that reads an exchange, without its key.
fn group_at(position: u64) -> Group {
    let (partition, element) = place_in_list(position);
    Group::new(partition, element, None)
}

/// The end of the list that a task of one partition reads, if nobody has read it yet and the leader
/// can gather it.
pub(super) fn end_of_list(job: &mut JobState, stage: usize, read: &Partitions) -> Option<ListEnd> {
    let [partition] = read.partitions()[..] else { return None };
    if let Some(exchange) = job.read_by(stage)
        && let Some(elements) = job.exchanges[exchange].reported_length(partition)
    {
        return read.is_open().then_some(ListEnd { partition, elements });
    }
    let list = read.is_open().then(|| last_list(job, stage, partition))??;
    Some(ListEnd { partition, elements: list.elements() })
}

/// The encoding of the element at this batch offset of a task that reads partitions, in the layout
/// in which its first step reads it, and its length; or the values of its key that this step
/// combines, each in a pair with the key. `None` if its partition cannot be gathered.
pub(super) fn encoding(
    job: &mut JobState,
    stage: usize,
    batch: &Batch,
    offset: usize,
) -> Option<(Bytes, Vec<u32>)> {
    let (partition, element) = place_in_list(batch.position(offset));
    if let Some(reported) = job.exchanges[job.read_by(stage)?].reported(partition, element) {
        return Some((reported.encodings.clone()?, reported.lengths.clone()));
    }
    // Any client that may publish replies can name an element behind the end.
    last_list(job, stage, partition)?.encodings(element, job.plan.layout(stage))
}

/// The list of a partition, if it can be gathered. The exchange keeps the one that was gathered
/// last: the failures of a partition come together, and each needs its list.
fn last_list(job: &mut JobState, stage: usize, partition: u32) -> Option<Arc<List>> {
    let exchange = job.read_by(stage)?;
    if let Some(list) = job.exchanges[exchange].last_list(partition) {
        return list;
    }
    let list = gather(job, stage, partition).map(Arc::new);
    job.exchanges[exchange].keep_list(partition, list.clone());
    list
}

/// Gathers a partition that the leader still holds.
fn gather(job: &JobState, stage: usize, partition: u32) -> Option<List> {
    let exchange = job.read_by(stage)?;
    let plan = &job.plan.exchanges[exchange];
    let (blocks, payload) =
        job.exchanges[exchange].read_up_to(MAX_GATHERED, partition, plan.first_side)?;
    // What workers have written need not be blocks.
    List::gather(plan.kind.grouping(), &payload, &blocks).ok()
}
