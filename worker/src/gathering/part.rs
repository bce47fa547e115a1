//! A gathered partition: its rows in parts, each of which is brought into memory as a whole.

use std::io;

use bytes::Bytes;
use phalanx_core::{
    gather::{List, malformed},
    registry::Refusal,
    wire::{Grouping, PartitionBlocks, ReturnReason},
};
use serde::{Deserialize, Serialize};

use super::store::{Piece, Store};

/// A partition that was gathered. Its list is that of its parts, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GatheredPartition {
    pub(crate) partition: u32,
    /// At least one.
    pub(crate) parts: Vec<Part>,
}

/// Rows of a partition that are brought together on their own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Where its blocks are, in order.
    pieces: Vec<Piece>,
    /// The length of each block; of the first side, if there are two.
    blocks: Vec<u32>,
    /// The length of each block of the second side.
    second: Vec<u32>,
    /// The number of its elements; `None` if it is the only part, and nobody has brought its rows
    /// together yet.
    pub(super) elements: Option<u64>,
}

impl GatheredPartition {
    /// A partition whose blocks came with the task, and begin at this byte of its payload.
    pub(crate) fn inline(blocks: &PartitionBlocks, from: u64) -> Self {
        let part = Part {
            pieces: vec![Piece::new(from, blocks.size())],
            blocks: blocks.blocks.clone(),
            second: blocks.second.clone(),
            elements: None,
        };
        Self { partition: blocks.partition, parts: vec![part] }
    }

    /// The size of its blocks.
    pub(crate) fn size(&self) -> u64 {
        self.parts.iter().map(Part::size).sum()
    }

    /// The number of elements in its list, unless it has only one part: that must be brought
    /// together first.
    pub(crate) fn elements(&self) -> Option<u64> {
        self.parts.iter().map(|part| part.elements).sum()
    }

    /// Loads a part: its list, and the blocks from which it is made.
    ///
    /// # Errors
    /// If the blocks cannot be read, or contradict themselves.
    pub(crate) fn load(
        &self,
        part: &Part,
        grouping: Grouping,
        store: &Store,
    ) -> Result<(List, Bytes), Refusal> {
        let payload = store.read(&part.pieces).map_err(unreadable)?;
        let Part { blocks, second, .. } = part.clone();
        let blocks = PartitionBlocks { partition: self.partition, blocks, second };
        let list = List::gather(grouping, &payload, &blocks)?;
        match part.elements {
            Some(elements) if elements != list.elements() => {
                Err(malformed("the rows of a partition have changed".to_owned()))
            }
            _ => Ok((list, payload)),
        }
    }
}

impl Part {
    /// Appends a block, which is at this place.
    pub(super) fn push(&mut self, block: Piece, is_second: bool) {
        let lengths = if is_second { &mut self.second } else { &mut self.blocks };
        lengths.push(block.length() as u32);
        match self.pieces.last_mut().and_then(|last| last.join(block)) {
            Some(()) => {}
            None => self.pieces.push(block),
        }
    }

    /// The number of its elements, if it is known.
    pub(crate) fn elements(&self) -> Option<u64> {
        self.elements
    }

    /// The size of its blocks.
    pub(crate) fn size(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.length() as u64).sum()
    }

    /// Puts its blocks together, at this place.
    pub(super) fn repacked(&self, from: u64) -> Self {
        Self { pieces: vec![Piece::new(from, self.size())], ..self.clone() }
    }

    /// Where its blocks are: one after the other.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The length of each of its blocks.
    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> {
        self.blocks.iter().chain(&self.second).map(|length| *length as usize)
    }
}

/// The refusal of a worker that cannot write or read its spill directory.
pub(super) fn unreadable(error: io::Error) -> Refusal {
    Refusal::Spill { reason: error.to_string() }
}

/// As [`unreadable`], of a task that has not begun.
pub(super) fn unspillable(error: io::Error) -> ReturnReason {
    ReturnReason::Refused(unreadable(error))
}
