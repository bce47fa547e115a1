//! The messages of the protocol: versioned, bounded, snapshot-tested.

mod answer;
mod control;
mod dead_letter;
mod envelope;
mod event;
#[cfg(test)]
mod golden;
mod task;

pub use answer::{
    Held, Lease, NotRunReason, Outcome, ProbeReply, ResultHeader, ResultMessage, Return,
    ReturnReason, Segment,
};
pub use control::Control;
pub use dead_letter::{DeadLetter, DeadLetterHeader};
pub use envelope::{MAX_MESSAGE_BYTES, WIRE_VERSION, WireError};
pub use event::{Event, OfferedOperation, Presence};
pub use task::{TaskHeader, TaskKind, TaskMessage};
