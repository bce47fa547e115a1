//! What a broker carries.

use std::fmt;

use bytes::Bytes;

use super::Pool;
use crate::id::{CopyId, LeaderId, WorkerId};

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
    /// The leader that waits for a reply: the routing key on the reply exchange.
    pub reply_to: Option<LeaderId>,
    /// The copy of a task that the message is, or is about. AMQP carries it as the correlation id,
    /// `task/attempt`.
    pub copy: Option<CopyId>,
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
    /// A request to reply at once, through a task queue.
    Probe,
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

    /// The task queue of a pool.
    pub fn tasks(pool: &Pool) -> Self {
        Self::new(Exchange::Task, pool.as_str())
    }

    /// The reply queue of a leader.
    pub fn replies(leader: LeaderId) -> Self {
        Self::new(Exchange::Reply, leader.to_string())
    }

    /// The control queues of the workers that `topic` names.
    pub fn control(topic: Topic) -> Self {
        Self::new(Exchange::Control, topic.to_string())
    }

    /// The event queues of all leaders, with a worker as the sender.
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
