//! The batch of a task.

use std::ops::Range;

use bytes::Bytes;

use super::{Elements, Partitions};
use crate::operation::ElementRange;

/// The elements of a task: those that the leader holds, or those of partitions, which only workers see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Batch {
    Elements(Elements),
    Partitions(Partitions),
}

impl Batch {
    /// The number of elements, as far as it is known.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Elements(elements) => elements.len(),
            Self::Partitions(partitions) => partitions.len(),
        }
    }

    /// Whether the number of elements is not known.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Partitions(partitions) if partitions.is_open())
    }

    /// The position of the first element.
    pub(crate) fn first(&self) -> u64 {
        match self {
            Self::Elements(elements) => elements.first(),
            Self::Partitions(partitions) => partitions.first(),
        }
    }

    /// One past the last position.
    pub(crate) fn end(&self) -> u64 {
        match self {
            Self::Elements(elements) => elements.end(),
            Self::Partitions(partitions) => partitions.end(),
        }
    }

    /// The size of what a worker reads for it, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Elements(elements) => elements.bytes().len(),
            Self::Partitions(partitions) => partitions.size(),
        }
    }

    /// The memory of the leader that it takes up by itself, in bytes.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Elements(elements) => elements.held(),
            Self::Partitions(_) => 0,
        }
    }

    /// The position of the element at this batch offset.
    pub(crate) fn position(&self, offset: usize) -> u64 {
        match self {
            Self::Elements(elements) => elements.first() + offset as u64,
            Self::Partitions(partitions) => partitions.position(offset),
        }
    }

    /// The index of the element at this batch offset: that in its source, or the position in an
    /// exchange.
    pub(crate) fn index(&self, offset: usize) -> u64 {
        match self {
            Self::Elements(elements) => elements.index(offset),
            Self::Partitions(partitions) => partitions.position(offset),
        }
    }

    /// Whether indexes are positions, so that they need not be listed.
    pub(crate) fn index_is_position(&self) -> bool {
        match self {
            Self::Elements(elements) => elements.index_is_position(),
            Self::Partitions(_) => true,
        }
    }

    /// The index of each element; empty if it equals the position.
    pub(crate) fn listed_indexes(&self) -> Vec<u64> {
        match self {
            Self::Elements(elements) => elements.listed_indexes(),
            Self::Partitions(_) => Vec::new(),
        }
    }

    /// The number of the next try of the element at this batch offset, from 1.
    pub(crate) fn tries(&self, offset: usize) -> u32 {
        match self {
            Self::Elements(elements) => elements.tries(offset),
            Self::Partitions(partitions) => partitions.tries(offset),
        }
    }

    /// The position ranges of elements with equal tries, as in a task message.
    pub(crate) fn ranges(&self) -> Vec<ElementRange> {
        match self {
            Self::Elements(elements) => elements.ranges(),
            Self::Partitions(partitions) => partitions.ranges(),
        }
    }

    /// The elements at these batch offsets.
    pub(crate) fn slice(&self, offsets: Range<usize>) -> Self {
        match self {
            Self::Elements(elements) => Self::Elements(elements.slice(offsets)),
            Self::Partitions(partitions) => Self::Partitions(partitions.slice(offsets)),
        }
    }

    /// Its two halves; `None` if it cannot be split.
    pub(crate) fn halves(&self) -> Option<[Self; 2]> {
        match self {
            Self::Elements(elements) => {
                let middle = elements.len() / 2;
                let halves = [elements.slice(0..middle), elements.slice(middle..elements.len())];
                (middle > 0).then_some(halves.map(Self::Elements))
            }
            Self::Partitions(partitions) => Some(partitions.halves()?.map(Self::Partitions)),
        }
    }

    /// The element at this batch offset, between those before and behind it; `None` if it is not known
    /// which element that is.
    pub(crate) fn isolated(&self, offset: usize) -> Option<[Option<Self>; 3]> {
        match self {
            Self::Elements(elements) => {
                let cuts = [0..offset, offset..offset + 1, offset + 1..elements.len()];
                let part = |cut: Range<usize>| (!cut.is_empty()).then(|| elements.slice(cut));
                Some(cuts.map(|cut| part(cut).map(Self::Elements)))
            }
            Self::Partitions(partitions) => {
                Some(partitions.isolated(offset)?.map(|part| part.map(Self::Partitions)))
            }
        }
    }

    /// The same elements, each charged with one more try.
    pub(crate) fn charged(self) -> Self {
        match self {
            Self::Elements(elements) => Self::Elements(elements.charged()),
            Self::Partitions(partitions) => Self::Partitions(partitions.charged()),
        }
    }

    /// A single element with this encoding, at its first try: the value of a failed `try_map`.
    pub(crate) fn replaced(&self, bytes: Bytes) -> Elements {
        debug_assert_eq!(self.len(), 1, "one element, one value");
        match self {
            Self::Elements(elements) => elements.replaced(bytes),
            Self::Partitions(_) => {
                let end = bytes.len() as u32;
                Elements::passed(self.first(), bytes, vec![end], vec![self.index(0)])
            }
        }
    }

    /// The elements of partitions, if it has such.
    pub(crate) fn partitions(&self) -> Option<&Partitions> {
        match self {
            Self::Elements(_) => None,
            Self::Partitions(partitions) => Some(partitions),
        }
    }
}
