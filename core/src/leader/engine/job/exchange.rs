//! The state of an exchange: the blocks of the executions that count, until they have been read.

use std::{fmt, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::ListPart;
use crate::{
    gather::List,
    leader::engine::{event::ExchangeProgress, flow::LEAST_CAP},
    wire::{PartitionBlocks, RowTotal, place_in_list},
};

/// The fewest and the most partitions of an exchange whose program sets no number.
const PARTITIONS: std::ops::RangeInclusive<u32> = 32..=256;
/// Their number while no slot is known.
const UNKNOWN_SLOTS: u32 = 16;
/// The cap of the blocks of a task, in bytes, is between these.
const CAPS: [u64; 2] = [LEAST_CAP as u64, 256 << 10];
/// The most bytes of blocks that a task reads, unless a single partition has more: half of the
/// least default limit of RabbitMQ, 16 MiB since 4.0. A lower limit of the broker is known only
/// once it has refused a task, which is then split between its partitions.
const MAX_TASK_BYTES: usize = 8 << 20;

/// The state of an exchange.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExchangeState {
    /// Empty until the first task that feeds it is sent.
    partitions: Vec<PartitionState>,
    /// The blocks so far, also those that have been read; `sealed` once all that feeds it is
    /// settled (rule 32).
    written: ExchangeProgress,
    /// The tasks that have brought them.
    tasks: u64,
    /// The bytes of the blocks that are held.
    held: usize,
    last_list: LastList,
}

/// The list that the leader has gathered last, until its partition is settled: its partition, and
/// `None` if it could not be gathered. It takes up about the memory of that partition once more.
#[derive(Clone, Default)]
struct LastList(Option<(u32, Option<Arc<List>>)>);

impl fmt::Debug for LastList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partition = self.0.as_ref().map(|(partition, _)| partition);
        f.debug_tuple("LastList").field(&partition).finish()
    }
}

#[derive(Debug, Clone, Default)]
struct PartitionState {
    /// In the order of their arrival, or of rule 33 once the exchange is sealed.
    blocks: Vec<Block>,
    /// The size of `blocks`.
    bytes: usize,
    /// The number of the elements in its list, once it is known.
    elements: Option<u64>,
    /// The number of those that are settled.
    settled: u64,
}

/// A block of an execution that counts.
#[derive(Debug, Clone)]
struct Block {
    /// The feeder, and the first position of its segment there. Blocks of one segment arrive
    /// together, in order.
    key: (usize, u64),
    bytes: Bytes,
}

impl ExchangeState {
    /// An exchange that was made for this directive.
    pub(crate) fn new(directive: &'static str) -> Self {
        let written = ExchangeProgress { directive, ..ExchangeProgress::default() };
        Self { written, ..Self::default() }
    }

    /// The number of partitions: `fixed`, or one by the number of slots. The first call decides.
    pub(crate) fn partitions(&mut self, fixed: Option<u32>, slots: u32) -> u32 {
        if self.partitions.is_empty() {
            let slots = if slots == 0 { UNKNOWN_SLOTS } else { slots };
            let wanted = slots.saturating_mul(4).min(*PARTITIONS.end()).next_power_of_two();
            let count = fixed.unwrap_or(wanted.clamp(*PARTITIONS.start(), *PARTITIONS.end()));
            self.partitions.resize_with(count.max(1) as usize, PartitionState::default);
            self.written.partitions = self.count();
        }
        self.count()
    }

    /// The number of partitions; 0 before it is decided.
    pub(crate) fn count(&self) -> u32 {
        self.partitions.len() as u32
    }

    /// After how many bytes of blocks a task that feeds it stops (rule 28).
    pub(crate) fn cap(&self) -> u64 {
        let [least, most] = CAPS;
        let mean = self.written.bytes.checked_div(self.tasks);
        mean.map_or(most, |mean| (4 * mean).clamp(least, most))
    }

    /// Whether this partition exists.
    pub(crate) fn has(&self, partition: u32) -> bool {
        (partition as usize) < self.partitions.len()
    }

    /// A task of this feeder counts, and has brought these blocks: for each its partition, the
    /// first position of its segment, the number of its rows, and its bytes. They were made from
    /// `uncombined`.
    pub(crate) fn add(
        &mut self,
        feeder: usize,
        uncombined: RowTotal,
        blocks: impl Iterator<Item = (u32, u64, u32, Bytes)>,
    ) {
        self.tasks += 1;
        // The numbers of a reply can be made up.
        let written = &mut self.written;
        written.rows_uncombined = written.rows_uncombined.saturating_add(uncombined.rows);
        written.bytes_uncombined = written.bytes_uncombined.saturating_add(uncombined.bytes);
        for (partition, first, rows, bytes) in blocks {
            written.blocks += 1;
            written.rows += u64::from(rows);
            written.bytes += bytes.len() as u64;
            if let Some(partition) = self.partitions.get_mut(partition as usize) {
                partition.bytes += bytes.len();
                self.held += bytes.len();
                written.largest = written.largest.max(partition.bytes as u64);
                partition.blocks.push(Block { key: (feeder, first), bytes });
            }
        }
    }

    /// What was written to it.
    pub(crate) fn written(&self) -> ExchangeProgress {
        self.written
    }

    /// The bytes of the blocks that it holds.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.written.sealed
    }

    /// Seals the exchange: nothing is added any more. Returns the partitions that have blocks.
    pub(crate) fn seal(&mut self) -> Vec<ListPart> {
        self.written.sealed = true;
        let mut lists = Vec::new();
        for (number, partition) in (0..).zip(&mut self.partitions) {
            partition.blocks.sort_by_key(|block| block.key);
            match partition.blocks.is_empty() {
                true => partition.elements = Some(0),
                false => lists.push(ListPart::whole(number, partition.bytes)),
            }
        }
        lists
    }

    /// The most bytes of blocks that one task reads: so little that each slot gets some tasks.
    pub(crate) fn task_bytes(&self, slots: u32) -> usize {
        let share = self.written.bytes as usize / (4 * slots.max(1) as usize);
        share.min(MAX_TASK_BYTES)
    }

    /// The blocks of partitions in the order in which they are read, and their bytes.
    /// The feeders from number `first_side` on belong to the second side.
    pub(crate) fn read(
        &self,
        partitions: &[u32],
        first_side: usize,
    ) -> (Vec<PartitionBlocks>, Bytes) {
        let mut listed = Vec::with_capacity(partitions.len());
        let mut all = Vec::new();
        for &partition in partitions {
            let state = self.partitions.get(partition as usize);
            let blocks = state.map_or(&[][..], |state| &state.blocks);
            // They are sorted by feeder.
            let (first, second) =
                blocks.split_at(blocks.partition_point(|block| block.key.0 < first_side));
            let lengths = |blocks: &[Block]| -> Vec<u32> {
                blocks.iter().map(|block| block.bytes.len() as u32).collect()
            };
            let second = lengths(second);
            listed.push(PartitionBlocks { partition, blocks: lengths(first), second });
            all.extend(blocks.iter().map(|block| &block.bytes));
        }
        if let [only] = &all[..] {
            return (listed, Bytes::clone(only));
        }
        let mut payload = BytesMut::with_capacity(all.iter().map(|bytes| bytes.len()).sum());
        all.into_iter().for_each(|bytes| payload.extend_from_slice(bytes));
        (listed, payload.freeze())
    }

    /// The blocks of one partition, as [`read`](Self::read) returns them, if they are still held
    /// and no larger than `most` bytes.
    pub(crate) fn read_up_to(
        &self,
        most: usize,
        partition: u32,
        first_side: usize,
    ) -> Option<(PartitionBlocks, Bytes)> {
        let state = self.partitions.get(partition as usize)?;
        if state.blocks.is_empty() || state.bytes > most {
            return None;
        }
        let (mut listed, payload) = self.read(&[partition], first_side);
        Some((listed.pop()?, payload))
    }

    /// The number of the elements in the list of a partition, once it is known.
    pub(crate) fn elements(&self, partition: u32) -> Option<u64> {
        self.partitions.get(partition as usize)?.elements
    }

    /// The length of the list of a partition is known.
    pub(crate) fn close(&mut self, partition: u32, elements: u64) {
        if let Some(state) = self.partitions.get_mut(partition as usize) {
            state.elements = Some(elements);
            self.forget_if_settled(partition);
        }
    }

    /// Elements of the list at this position were settled.
    pub(crate) fn settle(&mut self, position: u64, count: u64) {
        let (partition, _) = place_in_list(position);
        if let Some(state) = self.partitions.get_mut(partition as usize) {
            state.settled += count;
            self.forget_if_settled(partition);
        }
    }

    fn forget_if_settled(&mut self, partition: u32) {
        let Some(state) = self.partitions.get_mut(partition as usize) else { return };
        if !state.is_settled() {
            return;
        }
        self.held -= state.forget();
        if self.last_list(partition).is_some() {
            self.last_list = LastList::default();
        }
    }

    /// What became of the list of a partition, if the leader has tried to gather it, and no other
    /// one since.
    pub(crate) fn last_list(&self, partition: u32) -> Option<Option<Arc<List>>> {
        let (last, list) = self.last_list.0.as_ref()?;
        (*last == partition).then(|| list.clone())
    }

    /// Keeps a list in place of the one that was gathered before; `None` if it could not be.
    pub(crate) fn keep_list(&mut self, partition: u32, list: Option<Arc<List>>) {
        self.last_list = LastList(Some((partition, list)));
    }
}

#[cfg(test)]
impl ExchangeState {
    /// Exchanges the blocks of the first two partitions.
    pub(crate) fn swap_partitions(&mut self) {
        if let [one, other, ..] = &mut self.partitions[..] {
            std::mem::swap(&mut one.blocks, &mut other.blocks);
        }
    }
}

impl PartitionState {
    /// Whether no task reads the blocks any more.
    fn is_settled(&self) -> bool {
        self.elements.is_some_and(|elements| self.settled >= elements)
    }

    /// Lets go of the blocks; returns their size.
    fn forget(&mut self) -> usize {
        self.blocks = Vec::new();
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(partition: u32, first: u64, text: &'static str) -> (u32, u64, u32, Bytes) {
        (partition, first, 1, Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn blocks_are_read_in_the_order_of_feeders_and_positions_whenever_they_came() {
        let mut exchange = ExchangeState::default();
        assert_eq!(exchange.partitions(Some(3), 9), 3);
        exchange.add(1, RowTotal::default(), [block(0, 0, "e")].into_iter());
        exchange.add(
            0,
            RowTotal::default(),
            [block(0, 7, "c"), block(0, 7, "d"), block(2, 7, "x")].into_iter(),
        );
        exchange.add(0, RowTotal::default(), [block(0, 3, "ab")].into_iter());
        let lists = exchange.seal();
        assert_eq!((exchange.written().largest, lists.len()), (5, 2), "partition 1 is empty");
        let (listed, payload) = exchange.read(&[0, 2], 2);
        assert_eq!((&payload[..], &listed[0].blocks[..]), (&b"abcdex"[..], &[2, 1, 1, 1][..]));
    }

    #[test]
    fn blocks_are_held_until_the_elements_of_their_partition_are_settled() {
        let mut exchange = ExchangeState::default();
        exchange.partitions(Some(1), 0);
        exchange.add(0, RowTotal::default(), [block(0, 0, "abc")].into_iter());
        exchange.seal();
        exchange.close(0, 2);
        exchange.settle(0, 1);
        assert_eq!(exchange.held(), 3);
        exchange.settle(1, 1);
        assert_eq!((exchange.held(), exchange.written.bytes), (0, 3));
    }

    #[test]
    fn the_number_of_partitions_follows_the_slots_and_stays() {
        let of = |fixed, slots| ExchangeState::default().partitions(fixed, slots);
        assert_eq!(
            [of(None, 0), of(None, 2), of(None, 20), of(None, u32::MAX)],
            [64, 32, 128, 256]
        );
        let mut exchange = ExchangeState::default();
        assert_eq!((exchange.partitions(None, 2), exchange.partitions(None, 200)), (32, 32));
    }

    #[test]
    fn the_cap_of_a_task_follows_the_mean_of_those_before_it() {
        let mut exchange = ExchangeState::default();
        exchange.partitions(Some(1), 0);
        assert_eq!(exchange.cap(), 256 << 10);
        exchange.add(0, RowTotal::default(), [(0, 0, 1, Bytes::from(vec![0; 5_000]))].into_iter());
        assert_eq!(exchange.cap(), 20_000);
        (0..100).for_each(|_| exchange.add(0, RowTotal::default(), std::iter::empty()));
        assert_eq!(exchange.cap(), 1 << 10);
    }
}
