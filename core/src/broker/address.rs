//! Where messages are published.

use std::fmt;

use super::{Pool, ShuffleQueue};
use crate::id::{LeaderId, WorkerId};

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

    /// A queue of blocks.
    pub fn blocks(queue: &ShuffleQueue) -> Self {
        Self::new(Exchange::Shuffle, queue.to_string())
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
    /// Blocks; the key is a [`ShuffleQueue`].
    Shuffle,
}
