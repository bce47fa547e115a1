//! The blocks of outputs that have arrived from the queue of a task.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;

use crate::{
    id::{ExecutionId, JobId, TaskNumber},
    wire::{MAX_BLOCKS_AHEAD, OutputHeader, OutputMessage},
};

/// More bytes than this do not wait for the block that is next.
const MOST_HELD: usize = 64 << 20;

/// Brings the blocks of one execution into order, and drops all others: those of copies whose
/// result does not count, and second copies.
#[derive(Debug)]
pub(super) struct OutputBlocks {
    job: JobId,
    task: TaskNumber,
    execution: ExecutionId,
    /// The numbers of the blocks that have not been taken.
    left: Range<u32>,
    /// Blocks that have arrived, by number: the number of outputs and their encodings.
    held: BTreeMap<u32, (u32, Bytes)>,
    /// Their size in bytes.
    held_bytes: usize,
}

impl OutputBlocks {
    /// The blocks of an execution, which has written this many.
    pub(super) fn new(job: JobId, task: TaskNumber, execution: ExecutionId, blocks: u32) -> Self {
        Self { job, task, execution, left: 0..blocks, held: BTreeMap::new(), held_bytes: 0 }
    }

    /// A message has arrived. It is not needed in the queue any more, whatever it is.
    pub(super) fn add(&mut self, message: &Bytes) {
        let (job, task) = (self.job, self.task);
        let OutputMessage { header, values } = match OutputMessage::decode(message) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%job, %task, %error, "dropping what is no output from a queue");
                return;
            }
        };
        let OutputHeader { execution, number, outputs, .. } = header;
        if (header.job, header.task, execution) != (job, task, self.execution) {
            return;
        }
        if self.left.contains(&number) {
            self.held_bytes += values.len();
            if let Some((_, second)) = self.held.insert(number, (outputs, values)) {
                self.held_bytes -= second.len();
            }
        }
    }

    /// Whether so much has arrived before the next block that it will never come: a worker publishes
    /// no block before all are confirmed that precede it by [`MAX_BLOCKS_AHEAD`], and queues keep
    /// their order.
    pub(super) fn lacks_next(&self) -> bool {
        self.held.len() > 2 * MAX_BLOCKS_AHEAD as usize && self.held_bytes > MOST_HELD
    }

    /// Takes the next block, if it has arrived.
    pub(super) fn take(&mut self) -> Option<(u32, Bytes)> {
        let block = self.held.remove(&self.left.start)?;
        self.left.start += 1;
        self.held_bytes -= block.1.len();
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A policy that limits the length of the queue has dropped the first.
    #[test]
    fn what_comes_without_the_next_block_is_bounded() {
        let (job, task, execution) = (JobId::new(), TaskNumber(7), ExecutionId::new());
        let mut blocks = OutputBlocks::new(job, task, execution, 1_000);
        let values = Bytes::from(vec![0; 1 << 20]);
        let mut numbers = 1..1_000;
        while !blocks.lacks_next() {
            let number = numbers.next().expect("it gives up before the end");
            let header = OutputHeader { job, task, execution, number, outputs: 1 };
            blocks.add(&OutputMessage { header, values: values.clone() }.encode().unwrap());
        }
        assert_eq!(numbers.start, 66);
    }

    #[test]
    fn the_blocks_of_the_execution_that_counts_are_taken_in_order_and_once() {
        let (job, task) = (JobId::new(), TaskNumber(7));
        let (winner, loser) = (ExecutionId::new(), ExecutionId::new());
        let message = |execution, number, text: &'static str| {
            let header = OutputHeader { job, task, execution, number, outputs: 1 };
            OutputMessage { header, values: Bytes::from_static(text.as_bytes()) }.encode().unwrap()
        };
        let mut blocks = OutputBlocks::new(job, task, winner, 2);
        let (one, other) = (message(winner, 0, "one"), message(winner, 1, "other"));
        blocks.add(&message(loser, 0, "lost"));
        blocks.add(&Bytes::from_static(b"garbage"));
        blocks.add(&other);
        assert_eq!(blocks.take(), None);
        blocks.add(&one);
        blocks.add(&one);
        assert_eq!(blocks.take(), Some((1, Bytes::from_static(b"one"))));
        blocks.add(&one);
        assert_eq!(blocks.take(), Some((1, Bytes::from_static(b"other"))));
        blocks.add(&other);
        blocks.add(&message(winner, 2, "not announced"));
        assert_eq!(blocks.take(), None);
        assert!(blocks.held.is_empty() && blocks.held_bytes == 0);
    }
}
