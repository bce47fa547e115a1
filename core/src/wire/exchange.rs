//! What tasks say about the exchanges before and behind them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{codec::Layout, id::ExecutionId, operation::KeyPrefix};

/// The most partitions of an exchange.
pub const MAX_PARTITIONS: u32 = 4_096;

/// The most parts of a partition.
pub const MAX_PARTS: u32 = 1_024;

/// The bits of a position that number the elements of one partition (rule 33).
const LIST_BITS: u32 = 40;

/// The position of the element of this number in the list of a partition. That of
/// [`MAX_LISTED_ELEMENTS`] stands for the end of the list.
pub fn list_position(partition: u32, number: u64) -> u64 {
    (u64::from(partition) << LIST_BITS) + number.min(MAX_LISTED_ELEMENTS)
}

/// The partition that a position is in, and the number of its element in the list.
pub fn place_in_list(position: u64) -> (u32, u64) {
    ((position >> LIST_BITS) as u32, position & (MAX_LISTED_ELEMENTS - 1))
}

/// The most elements in the list of a partition.
pub const MAX_LISTED_ELEMENTS: u64 = 1 << LIST_BITS;

/// Where the elements of a task come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskInlet {
    /// The payload has their encodings.
    Elements(Layout),
    /// They are made from blocks of sealed partitions, which the payload has.
    Partitions(Gather),
    /// They are made from blocks of sealed partitions, which are in queues.
    Queues(QueuedGather),
}

impl Default for TaskInlet {
    fn default() -> Self {
        Self::Elements(Layout::Plain)
    }
}

impl TaskInlet {
    /// Whether the elements are made from blocks of partitions.
    pub fn reads_partitions(&self) -> bool {
        self.grouping().is_some()
    }

    /// What an element is, if the elements are made from blocks of partitions.
    pub fn grouping(&self) -> Option<Grouping> {
        match self {
            Self::Elements(_) => None,
            Self::Partitions(gather) => Some(gather.grouping),
            Self::Queues(queued) => Some(queued.grouping),
        }
    }
}

/// Where the outputs of a task go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskOutlet {
    /// Into the reply, for the reader of the job or the fold.
    #[default]
    Reply,
    /// Into the reply, in this layout, with the length of each output, because they go into further
    /// tasks.
    Stage(Layout),
    /// Into blocks of an exchange.
    Exchange(Scatter),
    /// Through the queue of the task, unless they fit into the reply, for the reader of the job.
    Queue {
        /// The bytes of outputs that are published at once.
        block: u32,
    },
    /// Into the reply, for a reader that needs the largest alone: a worker that can compare them
    /// may leave out the others.
    Top {
        /// How many.
        most: u64,
        /// Whether they are pairs that are compared by their keys.
        by_key: bool,
    },
}

/// How a task scatters its outputs over partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scatter {
    /// The number of partitions.
    pub partitions: u32,
    /// How outputs are told apart into keys and values; never plain.
    pub layout: Layout,
    /// What becomes of outputs with equal keys.
    pub combine: Combine,
    /// Where the blocks go.
    pub route: BlockRoute,
}

/// How the blocks of a task reach the tasks that read them (rule 28).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BlockRoute {
    /// In the result of the task.
    Inline {
        /// After this many bytes of blocks the worker stops at the next chunk.
        cap: u64,
    },
    /// Through the queues of the partitions.
    Spread {
        /// The number of the exchange in the job.
        exchange: u32,
        /// The number of the stage among those that feed the exchange.
        feeder: u32,
    },
}

/// What becomes of outputs with equal keys before they travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Combine {
    /// Each travels.
    Nothing,
    /// The last step of the task combines their values.
    Step,
    /// They are counted.
    Count,
    /// The first of them travels.
    First,
    /// Each travels, to where all outputs go that equal it as a whole.
    Whole,
}

/// How a task gathers the elements of partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gather {
    /// What an element is.
    pub grouping: Grouping,
    /// The partitions with their blocks, in the order of the elements.
    pub partitions: Vec<PartitionBlocks>,
}

/// How a task gathers the elements of partitions whose blocks are in queues.
///
/// A block counts if its execution has won, and once for each (execution, number), rule 31.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedGather {
    /// What an element is.
    pub grouping: Grouping,
    /// The number of the exchange in the job.
    pub exchange: u32,
    /// The feeders from this number on belong to the second side.
    pub first_side: u32,
    /// The number of partitions of the exchange.
    pub of: u32,
    /// The partitions that the task reads, in the order of the elements.
    pub partitions: Vec<AnnouncedBlocks>,
    /// The executions whose blocks count, in no order.
    pub winners: Vec<ExecutionId>,
    /// The layout of an element that failed, in a [`GatheredElement`].
    pub layout: Layout,
}

/// The blocks of a partition that count, as those that have written them have announced them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedBlocks {
    /// The partition.
    pub partition: u32,
    /// The number of blocks.
    pub blocks: u32,
    /// The size of all of them, in bytes.
    pub bytes: u64,
    /// The number of parts of its list, at least 1: the elements are in the order of their parts
    /// (rule 33), so that a worker needs memory for only one part at a time.
    pub parts: u32,
}

/// What becomes an element of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Grouping {
    /// A key with its values, combined by the first step of the task.
    Combine,
    /// A key with the sum of its counts.
    Count,
    /// A key with the list of its values.
    Group,
    /// A key alone.
    Distinct,
    /// A key with a value of either side.
    Join(JoinKind),
    /// A key with the lists of the values of both sides.
    Cogroup,
    /// A key with a value of the first side, if the second side has the key, or if it has not.
    Filter {
        /// Whether the second side must have the key.
        present: bool,
    },
    /// A row that both sides have, once.
    Intersection,
    /// A row of the first side that the second side lacks, as often as the first side has it.
    Subtract,
    /// A value of the first side, with the value of the second that has the same key.
    Zip,
}

impl Grouping {
    /// Whether rows are told apart as a whole, rather than by their keys.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Distinct | Self::Intersection | Self::Subtract)
    }
}

/// What a join makes of keys that one side lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum JoinKind {
    /// Nothing.
    Inner,
    /// The values of the first side stay, with `None`.
    Left,
    /// The values of both sides stay, with `None`.
    Full,
}

/// The blocks of one partition, in the order in which they are read (rule 33).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionBlocks {
    /// The partition.
    pub partition: u32,
    /// The length of each block in bytes; of the first side, if there are two.
    pub blocks: Vec<u32>,
    /// The length of each block of the second side, in bytes.
    pub second: Vec<u32>,
}

impl PartitionBlocks {
    /// The size of all blocks in bytes.
    pub fn size(&self) -> u64 {
        self.blocks.iter().chain(&self.second).map(|bytes| u64::from(*bytes)).sum()
    }
}

/// A block in the payload of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockHeader {
    /// The partition that it belongs to.
    pub partition: u32,
    /// The batch offset of the first element of its segment.
    pub first: u32,
    /// The number of its rows.
    pub rows: u32,
    /// Its length in bytes.
    pub bytes: u32,
}

/// What one execution has written into a partition through its queue; the broker has confirmed all
/// of it (rule 30).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpreadBlocks {
    /// The partition.
    pub partition: u32,
    /// The number of blocks.
    pub blocks: u32,
    /// The number of their rows.
    pub rows: u64,
    /// The size of all of them, in bytes.
    pub bytes: u64,
}

/// A number of rows, and their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RowTotal {
    /// The number of rows.
    pub rows: u64,
    /// The bytes of their keys and values.
    pub bytes: u64,
}

/// The length of the list of a partition, which a task has read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListEnd {
    /// The partition.
    pub partition: u32,
    /// The number of its elements.
    pub elements: u64,
}

/// An element that failed, from a worker that has gathered it from queues: the leader never sees
/// its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatheredElement {
    /// The list that has the element, read to its end.
    pub list: ListEnd,
    /// The first bytes of its key.
    pub key: KeyPrefix,
    /// The encodings for its dead letter, one after the other, as the leader would gather them;
    /// `None` if they are larger than [`MAX_GATHERED_ELEMENT`].
    pub encodings: Option<Bytes>,
    /// The length of each encoding.
    pub lengths: Vec<u32>,
}

impl GatheredElement {
    /// Leaves out the encodings, as if they were too large.
    pub fn leave_out_encodings(&mut self) {
        self.encodings = None;
        self.lengths = Vec::new();
    }
}

/// The largest encodings of a [`GatheredElement`], in bytes.
pub const MAX_GATHERED_ELEMENT: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_tells_its_partition_and_place() {
        for (partition, number) in [(0, 0), (3, 7), (MAX_PARTITIONS - 1, MAX_LISTED_ELEMENTS - 1)] {
            assert_eq!(place_in_list(list_position(partition, number)), (partition, number));
        }
        assert_eq!(
            list_position(3, u64::MAX),
            list_position(4, 0),
            "the end is the next beginning"
        );
    }
}
