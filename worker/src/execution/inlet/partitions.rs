//! Elements that are made from the blocks of partitions.

use std::ops::Range;

use bytes::Bytes;
use phalanx_core::{
    operation::ElementRange,
    registry::Refusal,
    wire::{
        Gather, Grouping, ListEnd, MAX_LISTED_ELEMENTS, PartitionBlocks, list_position,
        place_in_list,
    },
};

use super::super::{Running, chunk, pipeline::StepFailure, rows::Rows, values::Values};
use super::{InletChunk, gathered::Gathered, wanted::Wanted};

/// The elements of partitions that have not begun yet. One partition is gathered at a time.
pub(in crate::execution) struct Partitions {
    grouping: Grouping,
    /// The partitions that have not been gathered, in order.
    waiting: std::vec::IntoIter<PartitionBlocks>,
    /// The ranges that the task asks for; up to the list that was gathered last, as they are.
    ranges: Vec<ElementRange>,
    /// The blocks of the partitions that have not been gathered.
    payload: Bytes,
    gathered: Option<Gathered>,
    /// What the task asks for of the gathered partition, and has not begun.
    left: std::vec::IntoIter<Range<u64>>,
    next: Range<u64>,
    next_offset: u32,
}

impl Partitions {
    pub(super) fn new(gather: &Gather, ranges: &[ElementRange], payload: Bytes) -> Self {
        Self {
            grouping: gather.grouping,
            waiting: gather.partitions.clone().into_iter(),
            ranges: ranges.to_vec(),
            payload,
            gathered: None,
            left: Vec::new().into_iter(),
            next: 0..0,
            next_offset: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        // A longer batch goes on in another task.
        let is_full = self.next_offset == u32::MAX;
        is_full || (self.next.is_empty() && self.left.len() == 0 && self.waiting.len() == 0)
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
                None => self.gather(running)?,
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
        let ends_list = self.next.is_empty() && self.left.len() == 0;
        if ends_list {
            self.gathered = None;
        }
        Ok(InletChunk { values: Values::Encoded(rows), failures, ends_list })
    }

    /// Gathers the next partition; returns the first range that the task asks for.
    fn gather(&mut self, running: &Running) -> Result<Range<u64>, Refusal> {
        let Some(blocks) = self.waiting.next() else { return Ok(0..0) };
        let (partition, size) = (blocks.partition, blocks.size() as usize);
        let payload = self.payload.split_to(size.min(self.payload.len()));
        let (ranges, first) = (&mut self.ranges, self.next_offset);
        let mut left = Vec::new();
        let listed = |elements: u64| {
            let wanted = clip(ranges, partition, elements, first);
            left.extend(wanted.ranges.iter().map(|(range, _)| range.clone()));
            running.context.execution().set_ranges(ranges.clone());
            running.listed(ListEnd { partition, elements }, wanted.gaps());
            wanted
        };
        let gathered = Gathered::new(running, self.grouping, &payload, &blocks, listed)?;
        self.gathered = Some(gathered);
        self.left = left.into_iter();
        Ok(self.left.next().unwrap_or(0..0))
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
