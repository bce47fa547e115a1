//! Replies: every delivery owes its leader one, and is settled once the broker has it.

mod address;
mod delivery;
mod encodings;
mod kept;
mod pending;
mod publish;
mod refusal_backoff;
mod spread;
#[cfg(test)]
mod spread_tests;
mod window;

pub(crate) use address::ReplyAddress;
pub(crate) use delivery::SharedDelivery;
pub(crate) use pending::{OutgoingReply, PendingReply, Reply, ReplySender};
pub(crate) use publish::publish_replies;
pub(crate) use refusal_backoff::RefusalBackoff;
pub(crate) use spread::SpreadReply;
pub(crate) use window::{BlockWindow, WindowPermit};
