//! Rows on their way into blocks, one for each partition.

use phalanx_core::{
    gather::partition_of,
    wire::{BlockHeader, BlockWriter, RowTotal},
};

/// The largest block, in bytes, unless a single row is larger: any broker takes it.
const MAX_BLOCK: usize = 1 << 20;

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
    /// The batch offset at which the segment of these rows begins.
    first: u32,
}

impl Partitioned {
    pub(super) fn new(partitions: u32) -> Self {
        let writers = (0..partitions).map(|_| BlockWriter::default()).collect();
        Self { finished: Blocks::default(), writers, size: 0, first: 0 }
    }

    /// Adds a row whose key has this hash.
    #[inline]
    pub(super) fn push(&mut self, hash: u64, key: &[u8], value: &[u8]) {
        let partition = partition_of(hash, self.writers.len() as u32);
        let writer = &mut self.writers[partition as usize];
        if writer.size() + key.len() + value.len() > MAX_BLOCK && !writer.is_empty() {
            let before = self.finished.bytes.len();
            finish(&mut self.finished, writer, partition, self.first);
            self.size = self.size.saturating_sub(self.finished.bytes.len() - before);
        }
        self.size += key.len() + value.len() + 4;
        writer.push(key, value);
    }

    /// Begins a segment at this batch offset, after a [`flush`](Self::flush).
    pub(super) fn begin_segment(&mut self, first: u32) {
        self.first = first;
    }

    /// The size of all rows, in bytes.
    pub(super) fn size(&self) -> usize {
        self.finished.bytes.len() + self.size
    }

    /// Makes blocks of the rows.
    pub(super) fn flush(&mut self) {
        for (partition, writer) in (0..).zip(&mut self.writers) {
            if !writer.is_empty() {
                finish(&mut self.finished, writer, partition, self.first);
            }
        }
        self.size = 0;
    }

    /// The blocks, which were made from these rows.
    pub(super) fn finish(self, uncombined: RowTotal) -> Blocks {
        Blocks { uncombined, ..self.finished }
    }
}

/// Makes a block of the rows in `writer`.
fn finish(finished: &mut Blocks, writer: &mut BlockWriter, partition: u32, first: u32) {
    let (rows, before) = (writer.rows(), finished.bytes.len());
    writer.finish(&mut finished.bytes);
    let bytes = (finished.bytes.len() - before) as u32;
    finished.headers.push(BlockHeader { partition, first, rows, bytes });
}
