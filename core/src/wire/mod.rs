//! The messages between leaders and workers: versioned, bounded in size, and pinned by snapshots.

mod control;
mod dead_letter;
mod envelope;
mod event;
#[cfg(test)]
mod golden;
mod probe;
mod reply;
mod task;
pub mod timing;

pub use control::Control;
pub use dead_letter::{DeadLetter, DeadLetterHeader};
pub use envelope::{MAX_MESSAGE_BYTES, WIRE_VERSION, WireError};
pub use event::{Event, MAX_LISTED, Presence};
pub use probe::{Probe, ProbeReply};
pub use reply::{
    Lease, LeasedTask, NotRunReason, Outcome, ResultHeader, ResultMessage, Return, ReturnReason,
    Segment,
};
pub use task::{TaskHeader, TaskKind, TaskMessage};
