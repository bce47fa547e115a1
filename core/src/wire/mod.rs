//! The messages between leaders and workers: versioned, bounded in size, and pinned by snapshots.

mod block;
mod control;
mod dead_letter;
mod envelope;
mod event;
mod exchange;
#[cfg(test)]
mod golden;
mod output;
mod probe;
mod reply;
mod task;
pub mod timing;

pub use block::{Block, BlockMessage, BlockName, BlockWriter};
pub use control::Control;
pub use dead_letter::{DeadLetter, DeadLetterHeader, LeftOut};
pub use envelope::{MAX_MESSAGE_BYTES, WIRE_VERSION, WireError};
pub use event::{Event, MAX_LISTED, Presence};
pub use exchange::{
    AnnouncedBlocks, BlockHeader, BlockRoute, Combine, Gather, GatheredElement, Grouping, JoinKind,
    ListEnd, MAX_GATHERED_ELEMENT, MAX_LISTED_ELEMENTS, MAX_PARTITIONS, MAX_PARTS, PartitionBlocks,
    QueuedGather, RowTotal, Scatter, SpreadBlocks, TaskInlet, TaskOutlet, list_position,
    place_in_list,
};
pub use output::{MAX_BLOCKS_AHEAD, OutputHeader, OutputMessage};
pub use probe::{Probe, ProbeReply};
pub use reply::{
    Lease, LeasedTask, NotRunReason, Outcome, ResultHeader, ResultMessage, Return, ReturnReason,
    Segment,
};
pub use task::{TaskHeader, TaskKind, TaskMessage};
