//! The state of an exchange: what was written to it, and where its blocks are.

mod held;
mod queues;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use self::held::HeldBlock;
pub(crate) use self::{
    held::{InlineBlock, Winner},
    queues::Queues,
};
use super::ListPart;
use crate::{
    gather::List,
    id::{ExecutionId, JobId},
    leader::engine::{event::ExchangeProgress, flow::LEAST_CAP},
    wire::{
        AnnouncedBlocks, BlockMessage, GatheredElement, ListEnd, MAX_LISTED_ELEMENTS, MAX_PARTS,
        PartitionBlocks, RowTotal, SpreadBlocks, list_position, place_in_list,
    },
};

/// The fewest and the most partitions of an exchange whose program sets no number.
const PARTITIONS: std::ops::RangeInclusive<u32> = 32..=256;
/// Their number while no slot is known.
const UNKNOWN_SLOTS: u32 = 16;
/// The cap of the blocks of a task, in bytes, is between these.
const CAPS: [u64; 2] = [LEAST_CAP as u64, 256 << 10];
/// The most bytes of blocks that a task carries, unless a single partition has more: half of the
/// least default limit of RabbitMQ, 16 MiB since 4.0. A lower limit of the broker is known only
/// once it has refused a task, which is then split between its partitions.
const MAX_INLINE_BYTES: usize = 8 << 20;
/// The most bytes of blocks that a task reads from queues, unless a single partition has more.
const MAX_QUEUED_BYTES: usize = 16 << 20;

/// The bytes of blocks in a part of a partition, on average: workers need memory for one part of a
/// task at a time. All workers must see the same list, so it does not depend on their memory.
const PART_BYTES: u64 = 16 << 20;

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
    /// The executions that have written blocks which count.
    winners: Vec<ExecutionId>,
    /// The bytes of the blocks that the leader holds.
    held: usize,
    /// `None` while the leader holds all blocks; for ever, unless they become too many (rule 28).
    queues: Option<Queues>,
    /// The number of partitions that are settled.
    settled: usize,
    last_list: LastList,
    /// Elements that failed in the reply that is being handled, by their positions. Only a spread
    /// exchange has such: the leader cannot gather its lists.
    reported: Vec<(u64, GatheredElement)>,
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
    /// The blocks that the leader holds: in the order of their arrival, or of rule 33 once the
    /// exchange is sealed.
    held: Vec<HeldBlock>,
    /// The number of blocks that were written, whether the leader holds them or not.
    blocks: u32,
    /// Their size.
    bytes: usize,
    /// The number of the elements in its list, once it is known.
    elements: Option<u64>,
    /// The number of those that are settled.
    settled: u64,
    /// Whether all of it is settled, and counted so.
    is_over: bool,
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

    /// A result counts that has these blocks with it. They were made from `uncombined`.
    pub(crate) fn add(
        &mut self,
        winner: Winner,
        uncombined: RowTotal,
        blocks: impl Iterator<Item = InlineBlock>,
    ) {
        self.count_task(uncombined);
        for (number, InlineBlock { partition, first, rows, bytes }) in (0..).zip(blocks) {
            let (rows, size) = (u64::from(rows), bytes.len());
            self.count_blocks(&SpreadBlocks { partition, blocks: 1, rows, bytes: size as u64 });
            if let Some(state) = self.partitions.get_mut(partition as usize) {
                if number == 0 {
                    self.winners.push(winner.execution);
                }
                self.held += size;
                state.held.push(HeldBlock { winner, number, first, bytes });
            }
        }
    }

    /// A result counts whose blocks are in the queues.
    pub(crate) fn announce(
        &mut self,
        execution: ExecutionId,
        uncombined: RowTotal,
        written: &[SpreadBlocks],
    ) {
        self.count_task(uncombined);
        if !written.is_empty() {
            self.winners.push(execution);
        }
        written.iter().for_each(|blocks| self.count_blocks(blocks));
    }

    fn count_task(&mut self, uncombined: RowTotal) {
        self.tasks += 1;
        // The numbers of a reply can be made up.
        let written = &mut self.written;
        written.rows_uncombined = written.rows_uncombined.saturating_add(uncombined.rows);
        written.bytes_uncombined = written.bytes_uncombined.saturating_add(uncombined.bytes);
    }

    fn count_blocks(&mut self, more: &SpreadBlocks) {
        let Some(state) = self.partitions.get_mut(more.partition as usize) else { return };
        let bytes = usize::try_from(more.bytes).unwrap_or(usize::MAX);
        state.blocks = state.blocks.saturating_add(more.blocks);
        state.bytes = state.bytes.saturating_add(bytes);
        let written = &mut self.written;
        written.blocks = written.blocks.saturating_add(u64::from(more.blocks));
        written.rows = written.rows.saturating_add(more.rows);
        written.bytes = written.bytes.saturating_add(more.bytes);
        written.largest = written.largest.max(state.bytes as u64);
    }

    /// A task has gathered this many bytes of its blocks on disk.
    pub(crate) fn spilled(&mut self, bytes: u64) {
        // The number can be made up.
        self.written.spilled = self.written.spilled.saturating_add(bytes);
    }

    /// Outputs behind it went through a queue.
    pub(crate) fn queued_outputs(&mut self, bytes: u64) {
        // The number can be made up.
        self.written.queued_outputs = self.written.queued_outputs.saturating_add(bytes);
    }

    /// What was written to it.
    pub(crate) fn written(&self) -> ExchangeProgress {
        self.written
    }

    /// The number of executions that have brought blocks or could have.
    pub(crate) fn tasks(&self) -> u64 {
        self.tasks
    }

    /// The bytes of the blocks that the leader holds.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.written.sealed
    }

    /// Whether all blocks that were written can be read: the leader holds them, or the queues have
    /// them.
    pub(crate) fn is_complete(&self) -> bool {
        self.queues.as_ref().is_none_or(Queues::is_complete)
    }

    /// Seals the exchange: nothing is added any more. Returns the partitions that have blocks.
    pub(crate) fn seal(&mut self) -> Vec<ListPart> {
        self.written.sealed = true;
        let mut lists = Vec::new();
        for (number, partition) in (0..).zip(&mut self.partitions) {
            partition.held.sort_by_key(HeldBlock::place);
            match partition.blocks {
                0 => {
                    (partition.elements, partition.is_over) = (Some(0), true);
                    self.settled += 1;
                }
                _ => lists.push(ListPart::whole(number, partition.bytes)),
            }
        }
        lists
    }

    /// The most bytes of blocks that one task reads: so little that each slot gets some tasks.
    pub(crate) fn task_bytes(&self, slots: u32) -> usize {
        let share = self.written.bytes as usize / (4 * slots.max(1) as usize);
        share.min(if self.queues.is_some() { MAX_QUEUED_BYTES } else { MAX_INLINE_BYTES })
    }

    /// The blocks of partitions in the order in which they are read, and their bytes.
    /// The feeders from number `first_side` on belong to the second side.
    pub(crate) fn read(
        &self,
        partitions: &[u32],
        first_side: usize,
    ) -> (Vec<PartitionBlocks>, Bytes) {
        let held = |partition: u32| {
            let state = self.partitions.get(partition as usize);
            state.map_or(&[][..], |state| &state.held)
        };
        let listed = |it: &u32| held::listed(*it, held(*it), first_side);
        let all: Vec<&HeldBlock> = partitions.iter().flat_map(|it| held(*it)).collect();
        (partitions.iter().map(listed).collect(), held::joined(&all))
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
        if state.held.is_empty() || state.bytes > most {
            return None;
        }
        let (mut listed, payload) = self.read(&[partition], first_side);
        Some((listed.pop()?, payload))
    }

    /// What was announced for partitions whose blocks are in queues.
    pub(crate) fn announced(&self, partitions: &[u32]) -> Vec<AnnouncedBlocks> {
        let of = |&partition: &u32| {
            let state = self.partitions.get(partition as usize)?;
            let (blocks, bytes) = (state.blocks, state.bytes as u64);
            let parts = bytes.div_ceil(PART_BYTES).clamp(1, MAX_PARTS.into()) as u32;
            Some(AnnouncedBlocks { partition, blocks, bytes, parts })
        };
        partitions.iter().filter_map(of).collect()
    }

    /// The executions whose blocks count.
    pub(crate) fn winners(&self) -> &[ExecutionId] {
        &self.winners
    }

    /// Its queues, if it is spread.
    pub(crate) fn queues(&self) -> Option<&Queues> {
        self.queues.as_ref()
    }

    pub(crate) fn queues_mut(&mut self) -> Option<&mut Queues> {
        self.queues.as_mut()
    }

    /// Spreads the exchange, which has its partitions and is not sealed: from now on blocks go
    /// through queues. Returns the partitions whose queues are to be declared.
    pub(crate) fn spread(&mut self, now: Duration) -> Vec<u32> {
        let queues = self.queues.insert(Queues::declaring(self.partitions.len() as u32, now));
        self.written.queues = self.partitions.len() as u32;
        queues.live().collect()
    }

    /// Takes the blocks that the leader holds, if the queues can take them. They count as held
    /// until they are [published](Self::published).
    pub(crate) fn take_held(&mut self, job: JobId, exchange: u32) -> Vec<BlockMessage> {
        let mut taken = Vec::new();
        let Some(queues) = self.queues.as_mut().filter(|queues| queues.is_open()) else {
            return taken;
        };
        for (partition, state) in (0..).zip(&mut self.partitions) {
            let held = std::mem::take(&mut state.held).into_iter();
            taken.extend(held.map(|block| block.into_message(job, exchange, partition)));
        }
        queues.publish(taken.len());
        taken
    }

    /// The queue has a block of the leader of this size.
    pub(crate) fn published(&mut self, bytes: usize) {
        if let Some(queues) = &mut self.queues {
            self.held = self.held.saturating_sub(bytes);
            queues.published();
        }
    }

    /// Takes the partitions whose queues are to be deleted: all, once all are settled. A broker
    /// that loses one queue after the other rewrites the files that have blocks of many.
    pub(crate) fn take_settled(&mut self) -> Vec<u32> {
        let is_settled = self.settled == self.partitions.len();
        let queues = self.queues.as_mut().filter(|_| self.written.sealed && is_settled);
        queues.map(Queues::take_live).unwrap_or_default()
    }

    /// Keeps what the reply that is being handled says about elements that failed, each with its
    /// position; nothing to forget it.
    pub(crate) fn keep_reported(&mut self, reported: Vec<(u64, GatheredElement)>) {
        self.reported = reported;
    }

    /// What that reply says about an element.
    pub(crate) fn reported(&self, partition: u32, number: u64) -> Option<&GatheredElement> {
        let position = list_position(partition, number);
        let of = |(at, element): &'_ &(u64, GatheredElement)| {
            *at == position && element.list.partition == partition
        };
        self.reported.iter().find(of).map(|(_, element)| element)
    }

    /// The length of the list of a partition, if that reply says it.
    pub(crate) fn reported_length(&self, partition: u32) -> Option<u64> {
        let lists = self.reported.iter().map(|(_, element)| element.list);
        let of =
            |list: &ListEnd| list.partition == partition && list.elements <= MAX_LISTED_ELEMENTS;
        lists.filter(of).map(|list| list.elements).next()
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

    /// Whether nobody reads the blocks of a partition any more.
    pub(crate) fn is_over(&self, partition: u32) -> bool {
        self.partitions.get(partition as usize).is_some_and(|state| state.is_over)
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
        self.settled += usize::from(!std::mem::replace(&mut state.is_over, true));
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
    /// A text that is equal for exchanges that behave alike: it leaves out which tasks and
    /// executions have written the blocks, and clocks.
    pub(crate) fn canonical(&self) -> String {
        let partition = |it: &PartitionState| {
            let mut held: Vec<_> = it
                .held
                .iter()
                .map(|it| (it.winner.feeder, it.first, it.number, &it.bytes))
                .collect();
            held.sort_unstable();
            format!("{held:?} {} {} {:?} {}", it.blocks, it.bytes, it.elements, it.settled)
        };
        let partitions: Vec<String> = self.partitions.iter().map(partition).collect();
        let queues = self.queues.as_ref().map(Queues::canonical);
        format!("{partitions:?} {:?} {} {queues:?}", self.written, self.held)
    }

    /// Exchanges the blocks of the first two partitions.
    pub(crate) fn swap_partitions(&mut self) {
        if let [one, other, ..] = &mut self.partitions[..] {
            std::mem::swap(&mut one.held, &mut other.held);
        }
    }
}

impl PartitionState {
    /// Whether no task reads the blocks any more.
    fn is_settled(&self) -> bool {
        self.elements.is_some_and(|elements| self.settled >= elements)
    }

    /// Lets go of the blocks that are held; returns their size.
    fn forget(&mut self) -> usize {
        std::mem::take(&mut self.held).iter().map(|block| block.bytes.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TaskNumber;

    fn block(partition: u32, first: u64, text: &'static str) -> InlineBlock {
        let bytes = Bytes::from_static(text.as_bytes());
        InlineBlock { partition, first, rows: 1, bytes }
    }

    fn add(
        exchange: &mut ExchangeState,
        feeder: usize,
        blocks: impl IntoIterator<Item = InlineBlock>,
    ) {
        let execution = ExecutionId::new();
        let winner = Winner { feeder, task: TaskNumber(1), execution };
        exchange.add(winner, RowTotal::default(), blocks.into_iter());
    }

    #[test]
    fn blocks_are_read_in_the_order_of_feeders_and_positions_whenever_they_came() {
        let mut exchange = ExchangeState::default();
        assert_eq!(exchange.partitions(Some(3), 9), 3);
        add(&mut exchange, 1, [block(0, 0, "e")]);
        add(&mut exchange, 0, [block(0, 7, "c"), block(0, 7, "d"), block(2, 7, "x")]);
        add(&mut exchange, 0, [block(0, 3, "ab")]);
        let lists = exchange.seal();
        assert_eq!((exchange.written().largest, lists.len()), (5, 2), "partition 1 is empty");
        let (listed, payload) = exchange.read(&[0, 2], 2);
        assert_eq!((&payload[..], &listed[0].blocks[..]), (&b"abcdex"[..], &[2, 1, 1, 1][..]));
    }

    #[test]
    fn blocks_are_held_until_the_elements_of_their_partition_are_settled() {
        let mut exchange = ExchangeState::default();
        exchange.partitions(Some(1), 0);
        add(&mut exchange, 0, [block(0, 0, "abc")]);
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
        let bytes = Bytes::from(vec![0; 5_000]);
        add(&mut exchange, 0, [InlineBlock { partition: 0, first: 0, rows: 1, bytes }]);
        assert_eq!(exchange.cap(), 20_000);
        (0..100).for_each(|_| add(&mut exchange, 0, []));
        assert_eq!(exchange.cap(), 1 << 10);
    }
}
