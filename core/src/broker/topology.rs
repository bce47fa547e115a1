//! Pools and the queues of the protocol.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::Topic;
use crate::id::{LeaderId, WorkerId};

/// The name of a pool: a task queue, and the workers that serve it.
///
/// 1 to 64 characters: lower-case letters `a-z`, digits, `-`, `_` and `.`.
///
/// ```
/// use phalanx::broker::Pool;
///
/// let pool: Pool = "gpu.large".parse()?;
/// assert_eq!(pool.as_str(), "gpu.large");
/// assert_eq!(Pool::default().to_string(), "default");
/// assert!(Pool::new("GPU").is_err());
/// # Ok::<(), phalanx::broker::PoolNameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pool(String);

impl Pool {
    /// The name of the pool of operations that set no pool.
    pub const DEFAULT: &'static str = "default";

    /// The pool with this name.
    ///
    /// # Errors
    /// If the name is empty, has more than 64 characters, or has other characters than those allowed.
    pub fn new(name: &str) -> Result<Self, PoolNameError> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
            return Err(PoolNameError { name: name.chars().take(80).collect() });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name of the pool.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl TryFrom<String> for Pool {
    type Error = PoolNameError;

    fn try_from(name: String) -> Result<Self, PoolNameError> {
        Self::new(&name)
    }
}

impl std::str::FromStr for Pool {
    type Err = PoolNameError;

    fn from_str(name: &str) -> Result<Self, PoolNameError> {
        Self::new(name)
    }
}

impl From<Pool> for String {
    fn from(pool: Pool) -> Self {
        pool.0
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An invalid name of a pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid pool name `{name}`: use 1 to 64 characters of a-z, 0-9, `-`, `_` and `.`")]
pub struct PoolNameError {
    name: String,
}

/// A queue of the protocol. The broker derives its name and arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueSpec {
    /// The tasks of a pool: durable, shared by the workers of the pool, never deleted.
    Task {
        /// The pool.
        pool: Pool,
    },
    /// The replies to one leader: survives reconnects, expires some time after the leader has gone.
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
    /// Whether the existing queue is used although it has another shape, or could not be declared.
    pub as_found: bool,
}

impl DeclaredQueue {
    /// The state of a queue, from the reply of the broker.
    pub fn new(messages: u64, consumers: u32, as_found: bool) -> Self {
        Self { messages, consumers, as_found }
    }
}
