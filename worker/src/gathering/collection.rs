//! The blocks of a partition that have been read from its queue.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    io,
    sync::Arc,
};

use bytes::Bytes;
use phalanx_core::{
    id::{ExecutionId, JobId},
    wire::{AnnouncedBlocks, BlockMessage, BlockName},
};

use super::{
    arrange::{OrderedBlocks, ReadBlock},
    spool::Spool,
};

/// The place of a block among those of its partition: its feeder, the first position of its
/// segment, and its number (rule 33).
type Place = (u32, u64, u32);

/// The blocks of a partition that count, as far as they have been read.
pub(super) struct Collection<'w> {
    job: JobId,
    exchange: u32,
    announced: AnnouncedBlocks,
    winners: &'w HashSet<ExecutionId>,
    blocks: HashMap<(ExecutionId, u32), (Place, ReadBlock)>,
    /// The bytes of those that were read.
    bytes: u64,
    /// Where they go if they need more memory than there is.
    spool: Option<Arc<Spool>>,
    /// Those that are in memory and are to go there.
    unspilled: Vec<(ExecutionId, u32)>,
    unspilled_bytes: usize,
}

/// What becomes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// It counts, and must stay in the queue for the next reader (rule 34).
    Counts,
    /// It can never count: its execution has not won, or it is a second copy.
    Never,
}

impl<'w> Collection<'w> {
    pub(super) fn new(
        job: JobId,
        exchange: u32,
        announced: AnnouncedBlocks,
        winners: &'w HashSet<ExecutionId>,
        spool: Option<Arc<Spool>>,
    ) -> Self {
        Self {
            job,
            exchange,
            announced,
            winners,
            blocks: HashMap::new(),
            bytes: 0,
            spool,
            unspilled: Vec::new(),
            unspilled_bytes: 0,
        }
    }

    pub(super) fn partition(&self) -> u32 {
        self.announced.partition
    }

    /// The number of blocks that were announced.
    pub(super) fn announced(&self) -> u32 {
        self.announced.blocks
    }

    /// The number of those that were read.
    pub(super) fn found(&self) -> u32 {
        self.blocks.len() as u32
    }

    /// The size of those that were read, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_complete(&self) -> bool {
        self.found() >= self.announced()
    }

    /// Begins again: the queue has all blocks back.
    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        self.unspilled.clear();
        (self.bytes, self.unspilled_bytes) = (0, 0);
    }

    /// Writes blocks to the file of the task, if there is one, and there are enough of them or no
    /// more.
    ///
    /// Not cancel-safe: the collection is then of no use.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) async fn spill(&mut self) -> io::Result<()> {
        let Some(spool) = &self.spool else { return Ok(()) };
        if self.unspilled_bytes < spool.chunk() && !self.is_complete() {
            return Ok(());
        }
        let memory = |it: &(ExecutionId, u32)| match self.blocks.get(it) {
            Some((_, ReadBlock::Memory(block))) => block.clone(),
            _ => Bytes::new(),
        };
        let blocks = self.unspilled.iter().map(memory).collect();
        let pieces = Arc::clone(spool).write(blocks).await?;
        for (block, piece) in self.unspilled.drain(..).zip(pieces) {
            if let Some((_, read)) = self.blocks.get_mut(&block) {
                *read = ReadBlock::Spilled(piece);
            }
        }
        self.unspilled_bytes = 0;
        Ok(())
    }

    /// Adds a message from the queue; says what becomes of it there.
    pub(super) fn read(&mut self, message: &Bytes) -> Read {
        let BlockMessage { name, block } = match BlockMessage::decode(message) {
            Ok(message) => message,
            Err(error) => {
                let (job, partition) = (self.job, self.announced.partition);
                tracing::warn!(%job, partition, %error, "dropping what is no block from a queue");
                return Read::Never;
            }
        };
        let BlockName { job, exchange, feeder, partition, execution, number, first, .. } = name;
        let fits =
            (job, exchange, partition) == (self.job, self.exchange, self.announced.partition);
        if !fits || !self.winners.contains(&execution) {
            return Read::Never;
        }
        let Entry::Vacant(entry) = self.blocks.entry((execution, number)) else {
            return Read::Never;
        };
        self.bytes += block.len() as u64;
        if self.spool.is_some() {
            self.unspilled.push((execution, number));
            self.unspilled_bytes += block.len();
        }
        entry.insert(((feeder, first, number), ReadBlock::Memory(block)));
        Read::Counts
    }

    /// All blocks in the order in which they are read. The feeders from number `first_side` on
    /// belong to the second side.
    pub(super) fn finish(self, first_side: u32) -> OrderedBlocks {
        let AnnouncedBlocks { partition, parts, .. } = self.announced;
        let mut blocks: Vec<(Place, ReadBlock)> = self.blocks.into_values().collect();
        blocks.sort_unstable_by_key(|(place, _)| *place);
        let second = blocks.partition_point(|((feeder, ..), _)| *feeder < first_side);
        let blocks = blocks.into_iter().map(|(_, block)| block).collect();
        OrderedBlocks { partition, parts, blocks, second }
    }
}

#[cfg(test)]
mod tests {
    use phalanx_core::id::TaskNumber;

    use super::*;

    const PARTITION: u32 = 3;

    fn message(
        execution: ExecutionId,
        feeder: u32,
        first: u64,
        number: u32,
        block: &'static str,
    ) -> Bytes {
        let (job, task) = (JobId(uuid::Uuid::nil()), TaskNumber(1));
        let name = BlockName {
            job,
            exchange: 1,
            feeder,
            partition: PARTITION,
            task,
            execution,
            number,
            first,
        };
        BlockMessage { name, block: Bytes::from_static(block.as_bytes()) }.encode().unwrap()
    }

    fn collection(winners: &HashSet<ExecutionId>, blocks: u32) -> Collection<'_> {
        let announced = AnnouncedBlocks { partition: PARTITION, blocks, bytes: 0, parts: 1 };
        Collection::new(JobId(uuid::Uuid::nil()), 1, announced, winners, None)
    }

    #[test]
    fn only_the_blocks_of_winners_count_and_each_once() {
        let (winner, loser) = (ExecutionId::new(), ExecutionId::new());
        let winners = HashSet::from([winner]);
        let mut collection = collection(&winners, 2);
        let one = message(winner, 0, 7, 0, "one");
        assert_eq!(collection.read(&one), Read::Counts);
        assert_eq!(collection.read(&one), Read::Never, "a second copy");
        assert_eq!(collection.read(&message(loser, 0, 0, 0, "lost")), Read::Never);
        assert_eq!(collection.read(&Bytes::from_static(b"garbage")), Read::Never);
        assert!(!collection.is_complete());
        assert_eq!(collection.read(&message(winner, 0, 7, 1, "two")), Read::Counts);
        assert!(collection.is_complete());
    }

    #[test]
    fn a_block_of_another_queue_does_not_count() {
        let winner = ExecutionId::new();
        let winners = HashSet::from([winner]);
        let mut other = collection(&winners, 1);
        other.exchange = 2;
        assert_eq!(other.read(&message(winner, 0, 0, 0, "one")), Read::Never);
    }

    #[test]
    fn blocks_are_read_by_feeder_position_and_number_whenever_they_came() {
        let [one, other] = [(); 2].map(|()| ExecutionId::new());
        let winners = HashSet::from([one, other]);
        let mut collection = collection(&winners, 5);
        for (execution, feeder, first, number, block) in [
            (other, 2, 0, 0, "f"),
            (one, 0, 9, 3, "d"),
            (one, 0, 9, 2, "c"),
            (other, 1, 0, 1, "e"),
            (other, 0, 4, 7, "ab"),
        ] {
            collection.read(&message(execution, feeder, first, number, block));
        }
        let ordered = collection.finish(1);
        let bytes = ordered.blocks.iter().map(|block| match block {
            ReadBlock::Memory(bytes) => &bytes[..],
            ReadBlock::Spilled(_) => panic!("no file was given"),
        });
        assert_eq!(bytes.collect::<Vec<_>>(), [&b"ab"[..], b"c", b"d", b"e", b"f"]);
        assert_eq!(ordered.second, 3);
    }
}
