//! Messages, their kinds and their addresses.

use bytes::Bytes;

use crate::id::{CopyId, LeaderId};

/// A message and its properties.
#[derive(Debug, Clone)]
pub struct Message {
    /// Everything that is needed to return the message without decoding its body, and headers for
    /// people.
    pub properties: Properties,
    /// The encoded message. Brokers carry it unchanged.
    pub body: Bytes,
}

/// The properties of a message, which are readable without decoding its body. AMQP carries them as
/// properties and headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// The kind of the message; `None` if it is not a message of Phalanx.
    pub kind: Option<MessageKind>,
    /// The version of the wire format of the body.
    pub wire_version: u8,
    /// The leader that waits for a reply: the routing key on the reply exchange.
    pub reply_to: Option<LeaderId>,
    /// The copy of a task that the message contains or refers to. AMQP carries it as the
    /// correlation id, `task/attempt`.
    pub copy: Option<CopyId>,
    /// Whether the broker writes the message to disk, so that it survives a restart.
    pub persistent: bool,
    /// Information for people, such as the job, the stage and the names of operations.
    pub headers: Vec<(String, String)>,
}

/// The kinds of messages of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// A batch of elements to run.
    Task,
    /// A request for an immediate reply, sent through a task queue.
    Probe,
    /// The outcome of a batch.
    Result,
    /// The reason why a task was not run.
    Return,
    /// A heartbeat for long tasks that run.
    Lease,
    /// The reply to a probe.
    ProbeReply,
    /// A message from a leader to all workers.
    Control,
    /// A message from a worker to all leaders.
    Event,
    /// An element that failed permanently.
    DeadLetter,
    /// Rows on their way through an exchange, or outputs of the stage behind it.
    Block,
}

impl MessageKind {
    const ALL: [(Self, &'static str); 10] = [
        (Self::Task, "task"),
        (Self::Probe, "probe"),
        (Self::Result, "result"),
        (Self::Return, "return"),
        (Self::Lease, "lease"),
        (Self::ProbeReply, "probe-reply"),
        (Self::Control, "control"),
        (Self::Event, "event"),
        (Self::DeadLetter, "dead-letter"),
        (Self::Block, "block"),
    ];

    /// The name of the kind in the properties of a message, for example `probe-reply`.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The kind with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }
}
