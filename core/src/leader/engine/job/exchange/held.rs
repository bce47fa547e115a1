//! The blocks that a leader holds: those of exchanges that are not spread.

use bytes::{Bytes, BytesMut};

use crate::{
    id::{ExecutionId, JobId, TaskNumber},
    wire::{BlockMessage, BlockName, PartitionBlocks},
};

/// An execution whose result was accepted, so that its blocks count (rule 31).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Winner {
    /// The number of its stage among those that feed the exchange.
    pub(crate) feeder: usize,
    pub(crate) task: TaskNumber,
    pub(crate) execution: ExecutionId,
}

/// A block of a result.
#[derive(Debug, Clone)]
pub(crate) struct InlineBlock {
    pub(crate) partition: u32,
    /// The first position of its segment.
    pub(crate) first: u64,
    pub(crate) rows: u32,
    pub(crate) bytes: Bytes,
}

/// A block of an execution that counts.
#[derive(Debug, Clone)]
pub(super) struct HeldBlock {
    pub(super) winner: Winner,
    /// Its number in its execution.
    pub(super) number: u32,
    pub(super) first: u64,
    pub(super) bytes: Bytes,
}

impl HeldBlock {
    /// Its place among the blocks of a partition (rule 33).
    pub(super) fn place(&self) -> (usize, u64, u32) {
        (self.winner.feeder, self.first, self.number)
    }

    /// The block, to be published under its own name.
    pub(super) fn into_message(self, job: JobId, exchange: u32, partition: u32) -> BlockMessage {
        let Self { winner: Winner { feeder, task, execution }, number, first, bytes } = self;
        let feeder = feeder as u32;
        let name = BlockName { job, exchange, feeder, partition, task, execution, number, first };
        BlockMessage { name, block: bytes }
    }
}

/// Blocks of one partition as a task lists them, in order. The feeders from number `first_side` on
/// belong to the second side.
pub(super) fn listed(partition: u32, blocks: &[HeldBlock], first_side: usize) -> PartitionBlocks {
    // They are sorted by feeder.
    let side = blocks.partition_point(|block| block.winner.feeder < first_side);
    let lengths = |blocks: &[HeldBlock]| -> Vec<u32> {
        blocks.iter().map(|block| block.bytes.len() as u32).collect()
    };
    let (first, second) = blocks.split_at(side);
    PartitionBlocks { partition, blocks: lengths(first), second: lengths(second) }
}

/// The bytes of all these blocks.
pub(super) fn joined(blocks: &[&HeldBlock]) -> Bytes {
    if let [only] = blocks {
        return only.bytes.clone();
    }
    let mut payload = BytesMut::with_capacity(blocks.iter().map(|block| block.bytes.len()).sum());
    blocks.iter().for_each(|block| payload.extend_from_slice(&block.bytes));
    payload.freeze()
}
