//! The queues of the protocol.

use std::time::Duration;

use super::{Pool, ShuffleQueue, Topic};
use crate::id::{LeaderId, WorkerId};

/// A queue of the protocol. The broker derives its name and arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueSpec {
    /// The tasks of a pool: durable, shared by the workers of the pool, never deleted.
    Task {
        /// The pool.
        pool: Pool,
    },
    /// The replies to one leader: survives reconnects, and expires some time after the leader has
    /// disconnected.
    Reply {
        /// The leader.
        leader: LeaderId,
        /// How long the queue outlives its last consumer.
        expires: Duration,
    },
    /// The control messages for one worker: deleted with its connection, bound to `topics`.
    Control {
        /// The worker.
        worker: WorkerId,
        /// The routing keys to bind (`*` matches one word, `#` any number of words).
        topics: Vec<String>,
    },
    /// The events of all workers for one leader: deleted with its connection, bounded in length.
    Event {
        /// The leader.
        leader: LeaderId,
    },
    /// The dead letters of a pool: durable, bounded in number and age.
    Dead {
        /// The pool.
        pool: Pool,
    },
    /// Blocks of a shuffle: durable, unbounded, and deleted 30 minutes after its last consumer has
    /// gone and its last declaration. Publishing to it, and holding deliveries from it, does not
    /// keep it.
    Shuffle(ShuffleQueue),
}

/// What [`Broker::manage`](super::Broker::manage) does to each queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueAction {
    /// Makes sure that the queue exists and is bound, and restarts its expiry.
    Declare,
    /// Restarts the expiry of the queue and binds it again. Never makes a queue.
    Renew,
    /// Counts the messages in the queue, and restarts its expiry. Needs no permission but to read
    /// the queue.
    Check,
    /// Deletes the queue with its messages. Succeeds if the queue does not exist.
    Delete,
}

impl QueueSpec {
    /// The control queue of a worker, bound to the topics of all workers and of this worker.
    pub fn control(worker: WorkerId) -> Self {
        let topics = [Topic::AllWorkers, Topic::Worker(worker)].map(|topic| topic.to_string());
        Self::Control { worker, topics: topics.into() }
    }
}

/// The state of a queue when it was declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeclaredQueue {
    /// The number of messages in the queue, without those that are delivered but unsettled.
    pub messages: u64,
    /// The number of consumers of the queue.
    pub consumers: u32,
    /// Whether the existing queue is used although it has other arguments, or could not be
    /// declared.
    pub as_found: bool,
}

impl DeclaredQueue {
    /// The state of a queue, from the reply of the broker.
    pub fn new(messages: u64, consumers: u32, as_found: bool) -> Self {
        Self { messages, consumers, as_found }
    }
}
