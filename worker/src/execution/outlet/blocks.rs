//! Rows on their way into blocks, one for each partition.

use phalanx_core::{
    gather::partition_of,
    wire::{BlockHeader, BlockWriter, RowTotal},
};

/// Finished blocks.
#[derive(Debug, Default)]
pub(in crate::execution) struct Blocks {
    pub(in crate::execution) headers: Vec<BlockHeader>,
    /// The blocks, one after the other.
    pub(in crate::execution) bytes: Vec<u8>,
    /// What they were made from.
    pub(in crate::execution) uncombined: RowTotal,
}

/// Finished blocks, and the rows that will be the next block of each partition.
#[derive(Debug)]
pub(super) struct Partitioned {
    finished: Blocks,
    writers: Vec<BlockWriter>,
    /// The size of the rows in `writers`, in bytes.
    size: usize,
}

impl Partitioned {
    pub(super) fn new(partitions: u32) -> Self {
        let writers = (0..partitions).map(|_| BlockWriter::default()).collect();
        Self { finished: Blocks::default(), writers, size: 0 }
    }

    /// Adds a row whose key has this hash.
    #[inline]
    pub(super) fn push(&mut self, hash: u64, key: &[u8], value: &[u8]) {
        let partition = partition_of(hash, self.writers.len() as u32);
        self.size += key.len() + value.len() + 4;
        self.writers[partition as usize].push(key, value);
    }

    /// The size of all rows, in bytes.
    pub(super) fn size(&self) -> usize {
        self.finished.bytes.len() + self.size
    }

    /// Makes blocks of the rows, which were made from a segment that begins at the batch offset
    /// `first`.
    pub(super) fn flush(&mut self, first: u32) {
        for (partition, writer) in (0..).zip(&mut self.writers) {
            let rows = writer.rows();
            if rows == 0 {
                continue;
            }
            let before = self.finished.bytes.len();
            writer.finish(&mut self.finished.bytes);
            let bytes = (self.finished.bytes.len() - before) as u32;
            self.finished.headers.push(BlockHeader { partition, first, rows, bytes });
        }
        self.size = 0;
    }

    /// The blocks, which were made from these rows.
    pub(super) fn finish(self, uncombined: RowTotal) -> Blocks {
        Blocks { uncombined, ..self.finished }
    }
}
