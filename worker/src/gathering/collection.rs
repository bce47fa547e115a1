//! The blocks of a partition that have been read from its queue.

use std::collections::{HashMap, HashSet};

use bytes::{Bytes, BytesMut};
use phalanx_core::{
    id::{ExecutionId, JobId},
    wire::{AnnouncedBlocks, BlockMessage, BlockName, PartitionBlocks},
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
    blocks: HashMap<(ExecutionId, u32), (Place, Bytes)>,
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
    ) -> Self {
        Self { job, exchange, announced, winners, blocks: HashMap::new() }
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
        self.blocks.values().map(|(_, block)| block.len() as u64).sum()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.found() >= self.announced()
    }

    /// Begins again: the queue has all blocks back.
    pub(super) fn clear(&mut self) {
        self.blocks.clear();
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
        match self.blocks.insert((execution, number), ((feeder, first, number), block)) {
            None => Read::Counts,
            Some(_) => Read::Never,
        }
    }

    /// All blocks in the order in which they are read, listed and appended to `payload`. The
    /// feeders from number `first_side` on belong to the second side.
    pub(super) fn finish(self, first_side: u32, payload: &mut BytesMut) -> PartitionBlocks {
        let mut blocks: Vec<(Place, Bytes)> = self.blocks.into_values().collect();
        blocks.sort_unstable_by_key(|(place, _)| *place);
        let second = blocks.partition_point(|((feeder, ..), _)| *feeder < first_side);
        let mut lengths = Vec::with_capacity(blocks.len());
        for (_, block) in blocks {
            lengths.push(block.len() as u32);
            payload.extend_from_slice(&block);
        }
        let second = lengths.split_off(second);
        PartitionBlocks { partition: self.announced.partition, blocks: lengths, second }
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
        let announced = AnnouncedBlocks { partition: PARTITION, blocks, bytes: 0 };
        Collection::new(JobId(uuid::Uuid::nil()), 1, announced, winners)
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
        let mut payload = BytesMut::new();
        let listed = collection.finish(1, &mut payload);
        assert_eq!((&payload[..], &listed.blocks[..]), (&b"abcdef"[..], &[2, 1, 1][..]));
        assert_eq!(listed.second, [1, 1]);
    }
}
