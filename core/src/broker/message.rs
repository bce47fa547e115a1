//! What a broker carries.

use bytes::Bytes;

/// A message and its properties.
#[derive(Debug, Clone)]
pub struct Message {
    /// What is needed to return it unread, and what a person wants to see.
    pub properties: Properties,
    /// An encoded message of [`wire`](crate::wire).
    pub body: Bytes,
}

/// What a message says without being decoded. AMQP carries it as properties and headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// What the body is.
    pub kind: Option<MessageKind>,
    /// The version of the wire format of the body.
    pub wire_version: u8,
    /// The leader to answer: the routing key on the reply exchange.
    pub reply_to: Option<String>,
    /// `task/attempt`.
    pub correlation_id: Option<String>,
    /// Written to disk by the broker: for all that must survive its restart.
    pub persistent: bool,
    /// For people: job, stage, operation names, …
    pub headers: Vec<(String, String)>,
}

/// The kinds of messages of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// A batch of elements to run.
    Task,
    /// What became of a batch.
    Result,
    /// A task that was not run, and why.
    Return,
    /// Tasks that run, and stay alive.
    Lease,
    /// The answer to a probe.
    ProbeReply,
    /// From leaders to all workers.
    Control,
    /// From workers to all leaders.
    Event,
    /// An element that failed for good.
    DeadLetter,
}

impl MessageKind {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Task, "task"),
        (Self::Result, "result"),
        (Self::Return, "return"),
        (Self::Lease, "lease"),
        (Self::ProbeReply, "probe-reply"),
        (Self::Control, "control"),
        (Self::Event, "event"),
        (Self::DeadLetter, "dead-letter"),
    ];

    /// Its name in the properties of a message.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }
}

/// Where to publish: an exchange of ours, and a routing key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// The exchange.
    pub exchange: Exchange,
    /// The routing key.
    pub key: String,
}

impl Address {
    /// An address.
    pub fn new(exchange: Exchange, key: impl Into<String>) -> Self {
        Self { exchange, key: key.into() }
    }
}

/// The exchanges of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exchange {
    /// Tasks; the key is the pool.
    Task,
    /// Answers; the key is the leader.
    Reply,
    /// From leaders to workers; the key is a topic.
    Control,
    /// From workers to leaders; the key is a topic.
    Event,
    /// Dead letters; the key is the pool.
    Dead,
}
