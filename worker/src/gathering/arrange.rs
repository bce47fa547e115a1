//! Brings the blocks of partitions into the order in which they are read, in parts (rule 33).

use std::{io, path::Path};

use bytes::Bytes;
use phalanx_core::{
    gather::{Keys, hash, part_of},
    operation::KeyPrefix,
    registry::Refusal,
    wire::{Block, BlockWriter, Grouping, ReturnReason},
};
use tokio_util::sync::CancellationToken;

use super::{
    part::{GatheredPartition, Part, unreadable, unspillable},
    store::{Piece, Store, StoreWriter},
};

/// The bytes of all blocks that are written at the same time, one for each part; and the least and
/// the most of one of them.
const WRITTEN_AT_ONCE: usize = 4 << 20;
const BLOCK_SIZES: [usize; 2] = [4 << 10, 256 << 10];

/// A block as it was read from its queue.
#[derive(Debug, Clone)]
pub(super) enum ReadBlock {
    Memory(Bytes),
    /// In the file of the task.
    Spilled(Piece),
}

/// The blocks of a partition, in the order in which they are read.
pub(super) struct OrderedBlocks {
    pub(super) partition: u32,
    /// The number of parts of its list.
    pub(super) parts: u32,
    pub(super) blocks: Vec<ReadBlock>,
    /// The first block of the second side.
    pub(super) second: usize,
}

/// How the blocks of a task are brought into order.
#[derive(Debug, Clone)]
pub(super) struct Arranging {
    pub(super) grouping: Grouping,
    /// The number of partitions of the exchange.
    pub(super) of: u32,
    /// Cancelled when nobody waits for the task any more: gigabytes take long, and their memory and
    /// disk are wanted by others.
    pub(super) cancelled: CancellationToken,
}

impl Arranging {
    /// Writes the blocks of partitions in order; into a file of the directory `spills`, if there is
    /// one. `read` has the blocks that were spilled while they were read.
    ///
    /// # Errors
    /// Why the task is to be returned.
    pub(super) fn arrange(
        &self,
        all: Vec<OrderedBlocks>,
        read: &Store,
        spills: Option<&Path>,
    ) -> Result<(Vec<GatheredPartition>, Store), ReturnReason> {
        let size = |block: &ReadBlock| match block {
            ReadBlock::Memory(bytes) => bytes.len() as u64,
            ReadBlock::Spilled(piece) => piece.length() as u64,
        };
        let size = all.iter().flat_map(|ordered| &ordered.blocks).map(size).sum();
        let mut writer = StoreWriter::new(spills, size).map_err(unspillable)?;
        let mut partitions = Vec::with_capacity(all.len());
        for ordered in all {
            partitions.push(self.split(ordered, read, &mut writer)?);
        }
        Ok((partitions, writer.finish()))
    }

    /// Writes the rows of a partition in the order of its parts.
    fn split(
        &self,
        ordered: OrderedBlocks,
        read: &Store,
        writer: &mut StoreWriter,
    ) -> Result<GatheredPartition, ReturnReason> {
        let OrderedBlocks { partition, parts, blocks, second } = ordered;
        let ends_with_second = second < blocks.len();
        let (mut split, mut whole) = (Split::new(parts as usize), Vec::new());
        for (number, block) in blocks.into_iter().enumerate() {
            let bytes = match block {
                ReadBlock::Memory(bytes) => bytes,
                ReadBlock::Spilled(piece) => read.read(&[piece]).map_err(unspillable)?,
            };
            self.unless_cancelled()?;
            let is_second = number >= second;
            if parts == 1 {
                let piece = writer.append(&bytes).map_err(unspillable)?;
                split.parts[0].push(piece, is_second);
                continue;
            }
            if number == second {
                split.flush_all(writer, false).map_err(unspillable)?;
            }
            let block = block_of(&bytes).map_err(ReturnReason::Refused)?;
            for (key, value) in block.iter() {
                let hash = match self.grouping.is_whole() {
                    true => hash(joined(&mut whole, key, value)),
                    false => hash(key),
                };
                let part = part_of(hash, self.of, parts) as usize;
                split.push(part, (key, value), writer, is_second).map_err(unspillable)?;
            }
        }
        split.flush_all(writer, ends_with_second).map_err(unspillable)?;
        Ok(GatheredPartition { partition, parts: split.parts })
    }

    /// Counts the elements of each part, if there are several: before any code of the user runs, it
    /// must be known how long the list is.
    ///
    /// # Errors
    /// Why the task is to be returned.
    pub(super) fn count(
        &self,
        partitions: &mut [GatheredPartition],
        store: &Store,
    ) -> Result<(), ReturnReason> {
        for partition in partitions.iter_mut().filter(|partition| partition.parts.len() > 1) {
            for number in 0..partition.parts.len() {
                self.unless_cancelled()?;
                let loaded = partition.load(&partition.parts[number], self.grouping, store);
                let (list, _) = loaded.map_err(ReturnReason::Refused)?;
                partition.parts[number].elements = Some(list.elements());
            }
        }
        Ok(())
    }

    /// # Errors
    /// If nobody waits for the task; the reason is of no use to anyone.
    fn unless_cancelled(&self) -> Result<(), ReturnReason> {
        if self.cancelled.is_cancelled() { Err(ReturnReason::NotStarted) } else { Ok(()) }
    }

    /// Why a task is returned one of whose parts is larger than `limit`: it names the key that has
    /// the most bytes.
    pub(super) fn too_large(
        &self,
        (partition, part): (u32, &Part),
        store: &Store,
        limit: u64,
    ) -> ReturnReason {
        match self.largest_key(part, store, limit) {
            Ok((key, key_bytes)) => {
                let bytes = part.size();
                ReturnReason::PartTooLarge { partition, bytes, limit, key, key_bytes }
            }
            Err(refusal) => ReturnReason::Refused(refusal),
        }
    }

    /// The key with the most bytes of a part, as far as the keys of the part fit into `limit`.
    fn largest_key(
        &self,
        part: &Part,
        store: &Store,
        limit: u64,
    ) -> Result<(KeyPrefix, u64), Refusal> {
        let (mut keys, mut sizes, mut whole) = (Keys::default(), Vec::<u64>::new(), Vec::new());
        let mut lengths = part.lengths();
        for piece in part.pieces() {
            let mut left = *piece;
            while left.length() > 0
                && let Some(length) = lengths.next()
                && let Some((block, rest)) = left.split_at(length as u64)
            {
                let bytes = store.read(&[block]).map_err(unreadable)?;
                for (key, value) in block_of(&bytes)?.iter() {
                    let key = match self.grouping.is_whole() {
                        true => joined(&mut whole, key, value),
                        false => key,
                    };
                    let number = keys.number(key, hash(key)) as usize;
                    sizes.resize(sizes.len().max(number + 1), 0);
                    sizes[number] += (key.len() + value.len()) as u64;
                }
                left = if keys.size() as u64 > limit { Piece::new(0, 0) } else { rest };
            }
        }
        let largest = (0..).zip(&sizes).max_by_key(|(_, size)| **size);
        let (number, size) = largest.map_or((0, 0), |(number, size)| (number, *size));
        let key = if sizes.is_empty() { &[] } else { keys.get(number) };
        Ok((KeyPrefix::of(key), size))
    }
}

/// The parts of a partition that is being split.
struct Split {
    parts: Vec<Part>,
    /// The rows of each that are not written yet.
    writers: Vec<BlockWriter>,
    /// After how many bytes they are written.
    block_size: usize,
    block: Vec<u8>,
}

impl Split {
    fn new(parts: usize) -> Self {
        let mut writers = Vec::new();
        writers.resize_with(parts, BlockWriter::default);
        let [least, most] = BLOCK_SIZES;
        let block_size = (WRITTEN_AT_ONCE / parts.max(1)).clamp(least, most);
        let parts = vec![Part::default(); parts];
        Self { parts, writers, block_size, block: Vec::new() }
    }

    fn push(
        &mut self,
        part: usize,
        (key, value): (&[u8], &[u8]),
        writer: &mut StoreWriter,
        is_second: bool,
    ) -> io::Result<()> {
        self.writers[part].push(key, value);
        match self.writers[part].size() >= self.block_size {
            true => self.flush(part, writer, is_second),
            false => Ok(()),
        }
    }

    fn flush_all(&mut self, writer: &mut StoreWriter, is_second: bool) -> io::Result<()> {
        (0..self.parts.len()).try_for_each(|part| self.flush(part, writer, is_second))
    }

    fn flush(&mut self, part: usize, writer: &mut StoreWriter, is_second: bool) -> io::Result<()> {
        if self.writers[part].is_empty() {
            return Ok(());
        }
        self.block.clear();
        self.writers[part].finish(&mut self.block);
        let piece = writer.append(&self.block)?;
        self.parts[part].push(piece, is_second);
        Ok(())
    }
}

fn joined<'w>(whole: &'w mut Vec<u8>, key: &[u8], value: &[u8]) -> &'w [u8] {
    whole.clear();
    whole.extend_from_slice(key);
    whole.extend_from_slice(value);
    whole
}

fn block_of(bytes: &[u8]) -> Result<Block<'_>, Refusal> {
    Block::read(bytes).map_err(|error| Refusal::Message { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use phalanx_core::{codec, wire::JoinKind};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const PARTITION: u32 = 3;
    const OF: u32 = 5;

    const GROUPINGS: [Grouping; 13] = [
        Grouping::Combine,
        Grouping::Count,
        Grouping::Group,
        Grouping::Distinct,
        Grouping::Join(JoinKind::Inner),
        Grouping::Join(JoinKind::Left),
        Grouping::Join(JoinKind::Full),
        Grouping::Cogroup,
        Grouping::Filter { present: false },
        Grouping::Filter { present: true },
        Grouping::Zip,
        Grouping::Intersection,
        Grouping::Subtract,
    ];

    type Rows = Vec<(u8, u64)>;

    fn arranging(grouping: Grouping) -> Arranging {
        Arranging { grouping, of: OF, cancelled: CancellationToken::new() }
    }

    fn block(rows: &Rows) -> Vec<u8> {
        let (mut writer, mut block) = (BlockWriter::default(), Vec::new());
        for (key, value) in rows {
            writer.push(&codec::encode(key).unwrap(), &codec::encode(value).unwrap());
        }
        writer.finish(&mut block);
        block
    }

    /// The key and the value of each element, in order.
    fn elements(
        partitions: &[GatheredPartition],
        grouping: Grouping,
        store: &Store,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut elements = Vec::new();
        for partition in partitions {
            for part in &partition.parts {
                let (list, _) = partition.load(part, grouping, store).unwrap();
                for number in 0..list.elements() {
                    let mut value = Vec::new();
                    match list.values(number) {
                        Some(uncombined) => value.extend(uncombined.flatten()),
                        None => list.element(number).unwrap().write_value(&mut value),
                    }
                    elements.push((list.key(number).unwrap().to_vec(), value));
                }
            }
        }
        elements
    }

    /// The elements of these blocks: each comes from memory or from a file, and all of them go to
    /// memory or to a file.
    fn arranged(
        grouping: Grouping,
        parts: u32,
        (first, second): (&[Rows], &[Rows]),
        directory: Option<&Path>,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut read = StoreWriter::new(directory, 0).unwrap();
        let mut blocks = Vec::new();
        for (number, rows) in first.iter().chain(second).enumerate() {
            let block = block(rows);
            blocks.push(match directory.is_some() && number % 2 == 0 {
                true => ReadBlock::Spilled(read.append(&block).unwrap()),
                false => ReadBlock::Memory(block.into()),
            });
        }
        let partition = PARTITION;
        let ordered = OrderedBlocks { partition, parts, blocks, second: first.len() };
        let (arranging, read) = (arranging(grouping), read.finish());
        let (mut partitions, store) = arranging.arrange(vec![ordered], &read, directory).unwrap();
        arranging.count(&mut partitions, &store).unwrap();
        assert_eq!(store.is_spilled(), directory.is_some());
        let elements = elements(&partitions, grouping, &store);
        if parts > 1 {
            assert_eq!(partitions[0].elements(), Some(elements.len() as u64));
        }
        elements
    }

    proptest! {
        /// All workers see the same list, whatever their memory.
        #[test]
        fn elements_are_in_the_order_of_their_parts_in_memory_and_on_disk(
            grouping in prop::sample::select(&GROUPINGS[..]),
            parts in 1..7_u32,
            first in vec(vec((0..12_u8, 0..4_u64), 0..9), 0..5),
            second in vec(vec((0..12_u8, 0..4_u64), 0..9), 0..5),
        ) {
            let has_second = !matches!(
                grouping,
                Grouping::Combine | Grouping::Count | Grouping::Group | Grouping::Distinct
            );
            let second = if has_second { second } else { Vec::new() };
            let sides = (&first[..], &second[..]);
            let mut expected = arranged(grouping, 1, sides, None);
            expected.sort_by_key(|(key, _)| part_of(hash(key), OF, parts));
            prop_assert_eq!(&arranged(grouping, parts, sides, None), &expected);
            let directory = tempfile::tempdir().unwrap();
            prop_assert_eq!(&arranged(grouping, parts, sides, Some(directory.path())), &expected);
        }
    }

    #[test]
    fn work_for_which_nobody_waits_is_given_up() {
        let blocks = vec![ReadBlock::Memory(block(&vec![(1, 1)]).into())];
        let ordered =
            || OrderedBlocks { partition: PARTITION, parts: 2, blocks: blocks.clone(), second: 1 };
        let arranging = arranging(Grouping::Group);
        let arrange = || arranging.arrange(vec![ordered()], &Store::default(), None);
        let (mut partitions, store) = arrange().unwrap();
        arranging.cancelled.cancel();
        assert_eq!(arrange().unwrap_err(), ReturnReason::NotStarted);
        assert_eq!(arranging.count(&mut partitions, &store), Err(ReturnReason::NotStarted));
    }

    #[test]
    fn the_key_with_the_most_bytes_is_named() {
        let rows: Rows = (0..100).map(|n| (if n % 3 == 0 { n } else { 7 }, 0)).collect();
        for parts in [1, 2] {
            let blocks = vec![ReadBlock::Memory(block(&rows).into()); 2];
            let ordered = OrderedBlocks { partition: PARTITION, parts, blocks, second: 2 };
            let arranging = arranging(Grouping::Group);
            let (partitions, store) =
                arranging.arrange(vec![ordered], &Store::default(), None).unwrap();
            let largest = partitions[0].parts.iter().max_by_key(|part| part.size()).unwrap();
            let reason = arranging.too_large((PARTITION, largest), &store, 1 << 20);
            let ReturnReason::PartTooLarge { partition, bytes, limit, key, key_bytes } = reason
            else {
                panic!("{reason:?}")
            };
            assert_eq!((partition, bytes, limit), (PARTITION, largest.size(), 1 << 20));
            assert_eq!((key, key_bytes), (KeyPrefix::of(&[7]), 2 * 66 * 2));
        }
    }
}
