//! The elements of a list that a task asks for.

use std::ops::Range;

/// The elements of a list that a task asks for.
pub(super) struct Wanted {
    /// The numbers of these elements, which ascend, and the batch offset of the first of each range.
    pub(super) ranges: Vec<(Range<u64>, u32)>,
}

impl Wanted {
    /// The batch offset of the element with this number, if the task asks for it.
    pub(super) fn offset(&self, number: u32) -> Option<u32> {
        let number = u64::from(number);
        let next = self.ranges.partition_point(|(range, _)| range.end <= number);
        let (range, first) = self.ranges.get(next).filter(|(range, _)| range.start <= number)?;
        Some(first + (number - range.start) as u32)
    }

    /// The batch offsets of the elements that are no neighbours of those before them.
    pub(super) fn gaps(&self) -> impl Iterator<Item = u32> {
        let pairs = self.ranges.windows(2).filter(|pair| pair[0].0.end < pair[1].0.start);
        pairs.map(|pair| pair[1].1)
    }

    /// The batch offset of the first of them.
    pub(super) fn first_offset(&self) -> Option<u32> {
        self.ranges.first().map(|(_, first)| *first)
    }
}
