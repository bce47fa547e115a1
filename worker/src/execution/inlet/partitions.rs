//! Elements that are made from the blocks of partitions.

use std::ops::Range;

use phalanx_core::{
    gather::malformed,
    operation::ElementRange,
    registry::Refusal,
    wire::{Grouping, ListEnd, MAX_LISTED_ELEMENTS, TaskInlet, list_position, place_in_list},
};

use super::super::{Running, chunk, pipeline::StepFailure, rows::Rows, values::Values};
use super::{InletChunk, gathered::Gathered, wanted::Wanted};
use crate::gathering::{GatheredPartition, Store};

/// The elements of partitions that have not begun yet. One part of one partition is in memory at a
/// time.
pub(in crate::execution) struct Partitions {
    grouping: Grouping,
    /// The blocks of the partitions.
    store: Store,
    /// The partitions that have not begun, in order.
    waiting: std::vec::IntoIter<GatheredPartition>,
    /// The ranges that the task asks for; up to the list that has begun last, as they are.
    ranges: Vec<ElementRange>,
    /// The partition that has begun, and its parts that have not, with what the task asks for.
    partition: Option<GatheredPartition>,
    parts: std::vec::IntoIter<(usize, Wanted)>,
    gathered: Option<Gathered>,
    /// What the task asks for of the part that has begun, and has not begun.
    left: std::vec::IntoIter<Range<u64>>,
    next: Range<u64>,
    next_offset: u32,
}

impl Partitions {
    /// The elements of a task that reads partitions: from what it has gathered, or its payload.
    pub(super) fn of(running: &Running) -> Self {
        let header = &running.task.header;
        let (partitions, store) = match (running.gathered(), &header.inlet) {
            (Some(task), _) => (task.partitions().to_vec(), task.store().clone()),
            (None, TaskInlet::Partitions(gather)) => {
                let mut from = 0;
                let inline = gather.partitions.iter().map(|blocks| {
                    let partition = GatheredPartition::inline(blocks, from);
                    from += blocks.size();
                    partition
                });
                (inline.collect(), Store::Memory(running.task.payload.clone()))
            }
            // It runs only after it has gathered.
            _ => (Vec::new(), Store::default()),
        };
        Self {
            grouping: header.inlet.grouping().unwrap_or(Grouping::Group),
            store,
            waiting: partitions.into_iter(),
            ranges: header.ranges.clone(),
            partition: None,
            parts: Vec::new().into_iter(),
            gathered: None,
            left: Vec::new().into_iter(),
            next: 0..0,
            next_offset: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        // A longer batch goes on in another task.
        let is_full = self.next_offset == u32::MAX;
        is_full || (self.ends_list() && self.waiting.len() == 0)
    }

    /// Whether all that the task asks for of the partition that has begun has begun.
    fn ends_list(&self) -> bool {
        self.next.is_empty() && self.left.len() == 0 && self.parts.len() == 0
    }

    pub(super) fn next_offset(&self) -> u32 {
        self.next_offset
    }

    /// Takes up to `max` elements of one partition, which it gathers first if need be. There may be
    /// none, if its list is empty.
    pub(super) fn next_chunk(
        &mut self,
        running: &Running,
        max: u32,
    ) -> Result<InletChunk, Refusal> {
        if self.next.is_empty() {
            self.next = match self.left.next() {
                Some(next) => next,
                None => self.begin(running)?,
            };
        }
        let (mut rows, mut failures) = (Rows::default(), Vec::new());
        let most = self.next_offset.saturating_add(max);
        if let Some(gathered) = &self.gathered {
            while self.next_offset < most && rows.size() < chunk::MAX_BYTES {
                if self.next.is_empty() {
                    let Some(next) = self.left.next() else { break };
                    self.next = next;
                }
                if let Err(error) = gathered.push(self.next.start, self.next_offset, &mut rows) {
                    failures.push(StepFailure { offset: self.next_offset, step: 0, error });
                }
                self.next.start += 1;
                self.next_offset += 1;
            }
        }
        if self.next.is_empty() && self.left.len() == 0 {
            self.gathered = None;
        }
        let ends_list = self.ends_list();
        Ok(InletChunk { values: Values::Encoded(rows), failures, ends_list })
    }

    /// Begins the next part, or the next partition; returns the first range that the task asks for.
    fn begin(&mut self, running: &Running) -> Result<Range<u64>, Refusal> {
        if let Some((number, wanted)) = self.parts.next() {
            return self.begin_part(running, number, wanted);
        }
        let Some(partition) = self.waiting.next() else { return Ok(0..0) };
        let number = partition.partition;
        if let Some(elements) = partition.elements() {
            let wanted = self.list(running, number, elements);
            let elements = partition.parts.iter().filter_map(|part| part.elements());
            self.parts = wanted.split(elements).into_iter();
            self.partition = Some(partition);
            return match self.parts.next() {
                Some((number, wanted)) => self.begin_part(running, number, wanted),
                None => Ok(0..0),
            };
        }
        let [part] = &partition.parts[..] else {
            return Err(malformed("a partition does not say how long its parts are".to_owned()));
        };
        let (list, payload) = partition.load(part, self.grouping, &self.store)?;
        let wanted = self.list(running, number, list.elements());
        let gathered = Gathered::new(running, list, &payload, &wanted)?;
        Ok(self.start(gathered, &wanted))
    }

    /// Loads a part.
    fn begin_part(
        &mut self,
        running: &Running,
        number: usize,
        wanted: Wanted,
    ) -> Result<Range<u64>, Refusal> {
        let Some(partition) = &self.partition else { return Ok(0..0) };
        let (list, payload) =
            partition.load(&partition.parts[number], self.grouping, &self.store)?;
        let gathered = Gathered::new(running, list, &payload, &wanted)?;
        Ok(self.start(gathered, &wanted))
    }

    fn start(&mut self, gathered: Gathered, wanted: &Wanted) -> Range<u64> {
        self.gathered = Some(gathered);
        let left: Vec<Range<u64>> = wanted.ranges.iter().map(|(range, _)| range.clone()).collect();
        self.left = left.into_iter();
        self.left.next().unwrap_or(0..0)
    }

    /// The list of a partition has this many elements: says so before any code of the user runs,
    /// and returns which of them the task asks for.
    fn list(&mut self, running: &Running, partition: u32, elements: u64) -> Wanted {
        let wanted = clip(&mut self.ranges, partition, elements, self.next_offset);
        running.context.execution().set_ranges(self.ranges.clone());
        running.listed(ListEnd { partition, elements }, wanted.gaps());
        wanted
    }
}

/// Cuts the ranges of a partition off at the end of its list; returns what is left of them.
/// `offset` is the batch offset of the first element.
fn clip(ranges: &mut Vec<ElementRange>, partition: u32, elements: u64, mut offset: u32) -> Wanted {
    let mut wanted = Vec::new();
    for range in ranges.iter_mut() {
        let (in_partition, from) = place_in_list(range.from);
        if in_partition != partition {
            continue;
        }
        let to = (range.to - list_position(partition, 0)).min(elements).min(MAX_LISTED_ELEMENTS);
        range.to = list_position(partition, to.max(from));
        if from < to {
            wanted.push((from..to, offset));
            // A batch of a message never has more elements than that.
            offset = offset.saturating_add(u32::try_from(to - from).unwrap_or(u32::MAX));
        }
    }
    ranges.retain(|range| !range.is_empty());
    Wanted { ranges: wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: u64, to: u64) -> ElementRange {
        ElementRange { from, to, tries: 1 }
    }

    #[test]
    fn ranges_end_with_the_list_of_their_partition() {
        let at = |number| list_position(3, number);
        let next = range(list_position(4, 0), list_position(5, 0));
        let mut ranges = vec![range(at(2), at(4)), range(at(7), at(u64::MAX)), next];
        let wanted = clip(&mut ranges, 3, 9, 20);
        assert_eq!(wanted.ranges, [(2..4, 20), (7..9, 22)]);
        assert_eq!(ranges, [range(at(2), at(4)), range(at(7), at(9)), next]);
        assert_eq!(clip(&mut ranges, 4, 0, 24).ranges, []);
        assert_eq!(ranges.len(), 2, "an empty list has no elements");
    }
}
