//! Blocks: rows of keys and values on their way through an exchange.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{WireError, envelope};
use crate::id::{ExecutionId, JobId, TaskNumber};

/// A block on its way through the queue of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockMessage {
    /// Which block it is.
    pub name: BlockName,
    /// The block.
    pub block: Bytes,
}

/// Tells a block from all others: those of other executions, and those of the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockName {
    /// The job.
    pub job: JobId,
    /// The number of the exchange in the job.
    pub exchange: u32,
    /// The number of the stage that has written it, among those that feed the exchange.
    pub feeder: u32,
    /// The partition that it belongs to.
    pub partition: u32,
    /// The task that has written it.
    pub task: TaskNumber,
    /// The run of the task that has written it.
    pub execution: ExecutionId,
    /// The number of the block in its execution, from 0, over all segments and partitions.
    pub number: u32,
    /// The first position of its segment.
    pub first: u64,
}

impl BlockMessage {
    /// Encodes the message.
    ///
    /// # Errors
    /// If it is larger than the largest message.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        envelope::write(&self.name, &self.block)
    }

    /// Decodes a message. The block itself is read later.
    ///
    /// # Errors
    /// If the bytes do not begin with the name of a block, or are of another wire version.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let (name, block) = envelope::read(bytes)?;
        Ok(Self { name, block })
    }
}

/// The lengths in a block are 32 bits wide rather than 16.
const WIDE: u8 = 1;
/// The rows of a block have values.
const VALUES: u8 = 2;

/// The bytes of a block without rows.
const HEAD: usize = 5;

/// Rows that become a block.
#[derive(Debug, Default)]
pub struct BlockWriter {
    key_lengths: Vec<u32>,
    value_lengths: Vec<u32>,
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl BlockWriter {
    /// Adds a row.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        // A row is smaller than the batch that it was made from, or the block overflows below.
        self.key_lengths.push(key.len() as u32);
        self.value_lengths.push(value.len() as u32);
        self.keys.extend_from_slice(key);
        self.values.extend_from_slice(value);
    }

    /// The number of rows.
    pub fn rows(&self) -> u32 {
        self.key_lengths.len() as u32
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.key_lengths.is_empty()
    }

    /// The size of the block so far in bytes, at most.
    pub fn size(&self) -> usize {
        HEAD + 8 * self.key_lengths.len() + self.keys.len() + self.values.len()
    }

    /// Appends the block to `out`, and begins another one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let lengths = || self.key_lengths.iter().chain(&self.value_lengths);
        let wide = lengths().any(|length| u16::try_from(*length).is_err());
        let values = !self.values.is_empty();
        out.push(if wide { WIDE } else { 0 } | if values { VALUES } else { 0 });
        out.extend_from_slice(&self.rows().to_le_bytes());
        push_lengths(out, &self.key_lengths, wide);
        if values {
            push_lengths(out, &self.value_lengths, wide);
        }
        out.append(&mut self.keys);
        out.append(&mut self.values);
        self.key_lengths.clear();
        self.value_lengths.clear();
    }
}

fn push_lengths(out: &mut Vec<u8>, lengths: &[u32], wide: bool) {
    for length in lengths {
        match wide {
            true => out.extend_from_slice(&length.to_le_bytes()),
            false => out.extend_from_slice(&(*length as u16).to_le_bytes()),
        }
    }
}

/// A block that was received.
#[derive(Debug, Clone, Copy)]
pub struct Block<'b> {
    key_lengths: Lengths<'b>,
    /// `None` if no row has a value.
    value_lengths: Option<Lengths<'b>>,
    keys: &'b [u8],
    values: &'b [u8],
}

/// The lengths of keys or of values.
#[derive(Debug, Clone, Copy)]
struct Lengths<'b> {
    bytes: &'b [u8],
    wide: bool,
}

impl<'b> Lengths<'b> {
    /// Splits the lengths of `rows` rows off the front of `bytes`.
    fn split_from(bytes: &mut &'b [u8], rows: usize, wide: bool) -> Option<Self> {
        let size = rows.checked_mul(if wide { 4 } else { 2 })?;
        let (lengths, rest) = bytes.split_at_checked(size)?;
        *bytes = rest;
        Some(Self { bytes: lengths, wide })
    }

    #[inline]
    fn iter(self) -> impl Iterator<Item = usize> + use<'b> {
        let width = if self.wide { 4 } else { 2 };
        self.bytes.chunks_exact(width).map(move |bytes| match *bytes {
            [a, b] => usize::from(u16::from_le_bytes([a, b])),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]) as usize,
            _ => 0,
        })
    }

    fn sum(self) -> Option<usize> {
        self.iter().try_fold(0_usize, usize::checked_add)
    }
}

impl<'b> Block<'b> {
    /// Reads a block, which is all of `bytes`.
    ///
    /// # Errors
    /// If the bytes are not a block.
    pub fn read(bytes: &'b [u8]) -> Result<Self, WireError> {
        Self::split(bytes).ok_or_else(|| WireError::Malformed {
            reason: "a block contradicts its own lengths".to_owned(),
        })
    }

    fn split(bytes: &'b [u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_first_chunk::<HEAD>()?;
        let [flags, rows @ ..] = *head;
        if flags & !(WIDE | VALUES) != 0 {
            return None;
        }
        let (wide, rows) = (flags & WIDE != 0, u32::from_le_bytes(rows) as usize);
        let key_lengths = Lengths::split_from(&mut rest, rows, wide)?;
        let value_lengths = match flags & VALUES {
            0 => None,
            _ => Some(Lengths::split_from(&mut rest, rows, wide)?),
        };
        let (keys, values) = rest.split_at_checked(key_lengths.sum()?)?;
        let expected = value_lengths.map_or(Some(0), Lengths::sum)?;
        (values.len() == expected).then_some(Self { key_lengths, value_lengths, keys, values })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.key_lengths.bytes.len() / if self.key_lengths.wide { 4 } else { 2 }
    }

    /// The bytes of all values, which are the end of the block.
    pub fn values(&self) -> usize {
        self.values.len()
    }

    /// The rows in order: the key and the value of each.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (&'b [u8], &'b [u8])> + use<'b> {
        let (mut keys, mut values) = (self.keys, self.values);
        let mut value_lengths = self.value_lengths.map(Lengths::iter);
        self.key_lengths.iter().map(move |length| {
            // `split` has checked the sums.
            let (key, rest) = keys.split_at_checked(length).unwrap_or((keys, &[]));
            keys = rest;
            let length = value_lengths.as_mut().and_then(Iterator::next).unwrap_or(0);
            let (value, rest) = values.split_at_checked(length).unwrap_or((values, &[]));
            values = rest;
            (key, value)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn block(rows: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut writer = BlockWriter::default();
        rows.iter().for_each(|(key, value)| writer.push(key, value));
        let (bound, mut out) = (writer.size(), Vec::new());
        writer.finish(&mut out);
        assert!(out.len() <= bound && writer.is_empty());
        out
    }

    fn rows() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
        vec((vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..20)), 0..50)
    }

    proptest! {
        #[test]
        fn a_block_gives_back_its_rows(rows in rows(), long in 0..80_000_usize) {
            let mut rows = rows;
            if let Some((key, _)) = rows.first_mut() {
                key.resize(long, 7);
            }
            let bytes = block(&rows);
            let block = Block::read(&bytes).unwrap();
            let read: Vec<_> =
                block.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
            prop_assert_eq!(block.rows(), rows.len());
            prop_assert_eq!(read, rows);
        }

        #[test]
        fn any_bytes_are_a_block_or_are_refused(
            rows in rows(),
            at in 0..200_usize,
            byte in any::<u8>(),
            cut in 0..200_usize,
        ) {
            let mut bytes = block(&rows);
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Some(changed) = bytes.get_mut(at) {
                *changed = byte;
            }
            if let Ok(block) = Block::read(&bytes) {
                prop_assert_eq!(block.iter().count(), block.rows());
            }
        }
    }

    #[test]
    fn the_bytes_of_a_block_stay_as_they_are() {
        let pairs = block(&[(b"ab".to_vec(), b"1".to_vec()), (b"c".to_vec(), Vec::new())]);
        assert_eq!(pairs, b"\x02\x02\0\0\0\x02\0\x01\0\x01\0\0\0abc1");
        let whole = block(&[(b"ab".to_vec(), Vec::new())]);
        assert_eq!(whole, b"\0\x01\0\0\0\x02\0ab");
    }
}
