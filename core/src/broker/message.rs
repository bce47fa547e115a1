//! Messages, their kinds and their addresses.

use std::fmt;

use bytes::Bytes;

use super::Pool;
use crate::id::{CopyId, LeaderId, WorkerId};

/// A message and its properties.
#[derive(Debug, Clone)]
pub struct Message {
    /// Everything that is needed to return the message without decoding its body, and headers for
    /// people.
    pub properties: Properties,
    /// The encoded message. Brokers carry it as it is.
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
    /// The copy of a task that the message contains or refers to. AMQP carries it as the correlation id,
    /// `task/attempt`.
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
}

impl MessageKind {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Task, "task"),
        (Self::Probe, "probe"),
        (Self::Result, "result"),
        (Self::Return, "return"),
        (Self::Lease, "lease"),
        (Self::ProbeReply, "probe-reply"),
        (Self::Control, "control"),
        (Self::Event, "event"),
        (Self::DeadLetter, "dead-letter"),
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

/// The address of a message: an exchange of the protocol, and a routing key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// The exchange.
    pub exchange: Exchange,
    /// The routing key.
    pub key: String,
}

impl Address {
    /// An address; the meaning of `key` depends on the [`Exchange`].
    pub fn new(exchange: Exchange, key: impl Into<String>) -> Self {
        Self { exchange, key: key.into() }
    }

    /// The task queue of a pool.
    pub fn tasks(pool: &Pool) -> Self {
        Self::new(Exchange::Task, pool.as_str())
    }

    /// The reply queue of a leader.
    pub fn replies(leader: LeaderId) -> Self {
        Self::new(Exchange::Reply, leader.to_string())
    }

    /// The control queues of the workers of `topic`.
    pub fn control(topic: Topic) -> Self {
        Self::new(Exchange::Control, topic.to_string())
    }

    /// The event queues of all leaders; `worker` is the sender.
    pub fn events(worker: WorkerId) -> Self {
        Self::new(Exchange::Event, Topic::Worker(worker).to_string())
    }

    /// The dead-letter queue of a pool.
    pub fn dead_letters(pool: &Pool) -> Self {
        Self::new(Exchange::Dead, pool.as_str())
    }
}

/// The routing keys of the topic exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Topic {
    /// Every worker: `all`.
    AllWorkers,
    /// One worker: `worker.<id>`.
    Worker(WorkerId),
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllWorkers => f.write_str("all"),
            Self::Worker(worker) => write!(f, "worker.{worker}"),
        }
    }
}

/// The exchanges of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exchange {
    /// Tasks and probes; the key is the pool.
    Task,
    /// Replies; the key is the id of the leader.
    Reply,
    /// Control messages from leaders to workers; the key is a [`Topic`].
    Control,
    /// Events from workers to leaders; the key is a [`Topic`].
    Event,
    /// Dead letters; the key is the pool.
    Dead,
}
