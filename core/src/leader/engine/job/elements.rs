//! Encoded elements at consecutive positions, which are sliced and joined without being decoded.

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};

use crate::{
    codec::{self, Layout, push_frame},
    operation::ElementRange,
};

/// What a number and a frame add to an element of usual size, in bytes.
const MOST_ADDED: usize = 8;

/// Elements at consecutive positions of the input of one stage, with their encodings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elements {
    /// The stage position of the first element.
    first: u64,
    /// The number of the next try of each element, as (number of elements, try); covers all
    /// elements.
    tries: Vec<(u32, u32)>,
    bytes: Bytes,
    /// The end of each encoding, counted from the start of the block that these elements were cut
    /// from.
    ends: Arc<Vec<u32>>,
    /// The part of `ends` that belongs to these elements.
    window: Range<usize>,
    indexes: SourceIndexes,
}

/// The index in the source of each element.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SourceIndexes {
    /// In the first stage, they equal the stage positions.
    Positions,
    /// One for each element of the block that `window` refers to.
    Each(Arc<[u64]>),
}

impl Elements {
    /// Elements of the first stage, as they were pulled.
    pub(crate) fn pulled(first: u64, bytes: Bytes, ends: Vec<u32>) -> Self {
        Self::new(first, bytes, ends, SourceIndexes::Positions)
    }

    /// Elements of a later stage, each with the index of the source element that it was made from.
    pub(crate) fn passed(first: u64, bytes: Bytes, ends: Vec<u32>, indexes: Vec<u64>) -> Self {
        debug_assert_eq!(ends.len(), indexes.len(), "one index for each element");
        Self::new(first, bytes, ends, SourceIndexes::Each(indexes.into()))
    }

    /// The same elements, each with its position in front, in this layout.
    ///
    /// # Errors
    /// Their size, if a block cannot hold them.
    pub(super) fn numbered(&self, layout: Layout) -> Result<Self, u64> {
        let mut numbered = Vec::with_capacity(self.bytes.len() + MOST_ADDED * self.len());
        let (mut ends, mut number, base) = (Vec::new(), Vec::new(), self.place(0));
        for offset in 0..self.len() {
            let element = &self.bytes[self.place(offset) - base..self.place(offset + 1) - base];
            number.clear();
            // A number is always encoded.
            let _ = codec::encode_into(&(self.first + offset as u64), &mut number);
            match layout {
                Layout::Plain => {}
                Layout::Pairs => push_frame(&mut numbered, number.len(), element.len()),
                Layout::Whole => push_frame(&mut numbered, number.len() + element.len(), 0),
            }
            numbered.extend_from_slice(&number);
            numbered.extend_from_slice(element);
            ends.push(u32::try_from(numbered.len()).map_err(|_| numbered.len() as u64)?);
        }
        let indexes = match &self.indexes {
            SourceIndexes::Positions => SourceIndexes::Positions,
            SourceIndexes::Each(all) => SourceIndexes::Each(all[self.window.clone()].into()),
        };
        Ok(Self {
            first: self.first,
            tries: self.tries.clone(),
            bytes: numbered.into(),
            window: 0..ends.len(),
            ends: Arc::new(ends),
            indexes,
        })
    }

    fn new(first: u64, bytes: Bytes, ends: Vec<u32>, indexes: SourceIndexes) -> Self {
        debug_assert_eq!(ends.last().copied().unwrap_or(0) as usize, bytes.len());
        let count = ends.len();
        Self {
            first,
            tries: vec![(count as u32, 1)],
            bytes,
            ends: Arc::new(ends),
            window: 0..count,
            indexes,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.window.len()
    }

    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// One past the last position.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.len() as u64
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The memory of the leader that they take up, in bytes. The parts of a whole add up to the
    /// whole.
    pub(crate) fn held(&self) -> usize {
        self.bytes.len() + size_of::<u32>() * self.len()
    }

    /// The encoded size of the first `count` elements, in bytes.
    pub(crate) fn size_of_first(&self, count: usize) -> usize {
        self.place(count) - self.place(0)
    }

    /// The number of elements at the start that fit into `size` bytes together; at least 1.
    pub(crate) fn fitting(&self, size: usize) -> usize {
        let limit = self.place(0).saturating_add(size);
        let ours = &self.ends[self.window.clone()];
        ours.partition_point(|end| *end as usize <= limit).max(1).min(self.len())
    }

    /// The encoded length of each element in bytes.
    pub(crate) fn lengths(&self) -> Vec<u32> {
        (0..self.len()).map(|at| (self.place(at + 1) - self.place(at)) as u32).collect()
    }

    /// The elements at these batch offsets.
    pub(crate) fn slice(&self, offsets: Range<usize>) -> Self {
        let base = self.place(0);
        Self {
            first: self.first + offsets.start as u64,
            tries: slice_runs(&self.tries, &offsets),
            bytes: self
                .bytes
                .slice(self.place(offsets.start) - base..self.place(offsets.end) - base),
            ends: Arc::clone(&self.ends),
            window: self.window.start + offsets.start..self.window.start + offsets.end,
            indexes: self.indexes.clone(),
        }
    }

    /// Joins parts whose positions are consecutive; copies their bytes if there is more than one.
    pub(crate) fn join(mut parts: Vec<Self>) -> Option<Self> {
        if parts.len() <= 1 {
            return parts.pop();
        }
        let mut bytes = BytesMut::with_capacity(parts.iter().map(|part| part.bytes.len()).sum());
        let count = parts.iter().map(Self::len).sum();
        let mut ends = Vec::with_capacity(count);
        let mut indexes = Vec::new();
        let mut tries = Vec::new();
        let positions = parts.iter().all(|part| part.indexes == SourceIndexes::Positions);
        for part in &parts {
            debug_assert_eq!(
                part.first,
                parts[0].first + ends.len() as u64,
                "parts are neighbours"
            );
            let (start, base) = (bytes.len(), part.place(0));
            ends.extend(
                part.ends[part.window.clone()]
                    .iter()
                    .map(|end| (*end as usize - base + start) as u32),
            );
            bytes.extend_from_slice(&part.bytes);
            tries.extend_from_slice(&part.tries);
            if !positions {
                indexes.extend((0..part.len()).map(|offset| part.index(offset)));
            }
        }
        let indexes =
            if positions { SourceIndexes::Positions } else { SourceIndexes::Each(indexes.into()) };
        Some(Self {
            first: parts[0].first,
            tries,
            bytes: bytes.freeze(),
            ends: Arc::new(ends),
            window: 0..count,
            indexes,
        })
    }

    /// A single element with another encoding, at its first try: the value of a failed `try_map`.
    pub(crate) fn replaced(&self, bytes: Bytes) -> Self {
        debug_assert_eq!(self.len(), 1, "one element, one value");
        let end = bytes.len() as u32;
        let indexes = match &self.indexes {
            SourceIndexes::Positions => SourceIndexes::Positions,
            SourceIndexes::Each(_) => SourceIndexes::Each(vec![self.index(0)].into()),
        };
        Self {
            first: self.first,
            tries: vec![(1, 1)],
            bytes,
            ends: Arc::new(vec![end]),
            window: 0..1,
            indexes,
        }
    }

    /// The source index of the element at this batch offset.
    pub(crate) fn index(&self, offset: usize) -> u64 {
        match &self.indexes {
            SourceIndexes::Positions => self.first + offset as u64,
            SourceIndexes::Each(all) => all[self.window.start + offset],
        }
    }

    /// The source index of each element; empty if it equals the stage position.
    pub(crate) fn listed_indexes(&self) -> Vec<u64> {
        match &self.indexes {
            SourceIndexes::Positions => Vec::new(),
            SourceIndexes::Each(all) => all[self.window.clone()].to_vec(),
        }
    }

    /// Whether indexes are positions, so that they need not be listed.
    pub(crate) fn index_is_position(&self) -> bool {
        self.indexes == SourceIndexes::Positions
    }

    /// The number of the next try of the element at this batch offset, from 1.
    pub(crate) fn tries(&self, offset: usize) -> u32 {
        let mut left = offset as u32;
        for (count, tries) in &self.tries {
            if left < *count {
                return *tries;
            }
            left -= count;
        }
        1
    }

    /// The same elements, each charged with one more try.
    pub(crate) fn charged(mut self) -> Self {
        for (_, tries) in &mut self.tries {
            *tries += 1;
        }
        self
    }

    /// The position ranges of elements with equal tries, as in a task message.
    pub(crate) fn ranges(&self) -> Vec<ElementRange> {
        let mut from = self.first;
        let mut ranges = Vec::with_capacity(self.tries.len());
        for (count, tries) in &self.tries {
            let to = from + u64::from(*count);
            ranges.push(ElementRange { from, to, tries: *tries });
            from = to;
        }
        ranges
    }

    /// The start of the element at this batch offset, counted from the start of the block.
    fn place(&self, offset: usize) -> usize {
        match self.window.start + offset {
            0 => 0,
            at => self.ends[at - 1] as usize,
        }
    }
}

/// The part of run-length encoded values at these offsets.
fn slice_runs(runs: &[(u32, u32)], offsets: &Range<usize>) -> Vec<(u32, u32)> {
    let (mut at, mut sliced) = (0, Vec::new());
    for (count, value) in runs {
        let run = at..at + *count as usize;
        let from = run.start.max(offsets.start);
        let to = run.end.min(offsets.end);
        if from < to {
            sliced.push(((to - from) as u32, *value));
        }
        at = run.end;
    }
    sliced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(first: u64, words: &[&str]) -> Elements {
        let mut ends = Vec::new();
        let mut bytes = Vec::new();
        for word in words {
            bytes.extend_from_slice(word.as_bytes());
            ends.push(bytes.len() as u32);
        }
        Elements::pulled(first, bytes.into(), ends)
    }

    #[test]
    fn a_slice_of_a_slice_has_the_bytes_and_positions_of_its_elements() {
        let all = letters(10, &["a", "bb", "", "ccc", "d"]);
        let middle = all.slice(1..4);
        assert_eq!((&middle.bytes()[..], middle.first(), middle.end()), (&b"bbccc"[..], 11, 14));
        let last = middle.slice(2..3);
        assert_eq!((&last.bytes()[..], last.index(0)), (&b"ccc"[..], 13));
        assert_eq!(last.size_of_first(1), 3);
    }

    #[test]
    fn neighbours_join_into_what_they_were_cut_from() {
        let all = letters(0, &["a", "bb", "ccc", "d"]);
        let joined = Elements::join(vec![all.slice(0..1), all.slice(1..3), all.slice(3..4)]);
        let joined = joined.unwrap();
        assert_eq!(joined.bytes(), all.bytes());
        assert_eq!(joined.slice(1..2).bytes(), all.slice(1..2).bytes());
    }

    #[test]
    fn tries_follow_their_elements() {
        let all = letters(0, &["a", "b", "c", "d"]);
        let joined =
            Elements::join(vec![all.slice(0..1), all.slice(1..3).charged(), all.slice(3..4)]);
        let cut = joined.unwrap().slice(2..4);
        assert_eq!((cut.tries(0), cut.tries(1)), (2, 1));
        assert_eq!(cut.ranges().len(), 2);
    }

    #[test]
    fn at_least_one_element_fits() {
        let all = letters(0, &["aaaa", "b", "c"]);
        assert_eq!((all.fitting(0), all.fitting(5), all.fitting(99)), (1, 2, 3));
    }
}
