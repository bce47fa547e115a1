//! Replies: every delivery owes its leader one, and is settled once the broker has it.

mod address;
mod block_publisher;
mod delivery;
mod encodings;
mod kept;
mod output_stream;
#[cfg(test)]
mod output_stream_tests;
mod pending;
mod publish;
mod refusal_backoff;
mod spread;
#[cfg(test)]
mod spread_tests;
mod window;

pub(crate) use address::ReplyAddress;
pub(crate) use block_publisher::BlockPublisher;
pub(crate) use delivery::SharedDelivery;
pub(crate) use output_stream::OutputStream;
pub(crate) use pending::{OutgoingReply, PendingReply, Preceding, Reply, ReplySender};
pub(crate) use publish::publish_replies;
pub(crate) use refusal_backoff::RefusalBackoff;
pub(crate) use spread::SpreadReply;
pub(crate) use window::WindowPermit;
