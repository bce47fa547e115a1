//! The queues of the protocol.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::Topic;
use crate::id::{LeaderId, WorkerId};

/// The name of a task queue and of the workers that serve it.
///
/// Lower-case letters, digits, `-`, `_` and `.`; at most 64 of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pool(String);

impl Pool {
    /// The pool of operations that name none.
    pub const DEFAULT: &'static str = "default";

    /// A pool of this name.
    ///
    /// # Errors
    /// When the name has other characters, none or too many.
    pub fn new(name: &str) -> Result<Self, PoolNameError> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
            return Err(PoolNameError { name: name.chars().take(80).collect() });
        }
        Ok(Self(name.to_owned()))
    }

    /// Its name.
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

/// A name that no pool can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot name a pool: use 1 to 64 of a-z, 0-9, `-`, `_` and `.`")]
pub struct PoolNameError {
    name: String,
}

/// A queue of the protocol; the broker knows its real name and arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueSpec {
    /// The tasks of a pool: durable, shared by its workers, never deleted.
    Task {
        /// The pool.
        pool: Pool,
    },
    /// The answers to one leader: survives its reconnects, gone some time after it.
    Reply {
        /// The leader.
        leader: LeaderId,
        /// How long it outlives its last consumer.
        expires: Duration,
    },
    /// What one worker must hear: gone with its connection, bound to `topics`.
    Control {
        /// The worker.
        worker: WorkerId,
        /// Routing keys (`*` is one word, `#` any number).
        topics: Vec<String>,
    },
    /// What one leader hears of the workers: gone with its connection, bounded, bound to all.
    Event {
        /// The leader.
        leader: LeaderId,
    },
    /// The dead letters of a pool: durable, bounded in length and age.
    Dead {
        /// The pool.
        pool: Pool,
    },
}

impl QueueSpec {
    /// The control queue of a worker: what is meant for all workers, and for this one.
    pub fn control(worker: WorkerId) -> Self {
        let topics = [Topic::AllWorkers, Topic::Worker(worker)].map(|topic| topic.to_string());
        Self::Control { worker, topics: topics.into() }
    }
}

/// What is known of a queue when it has been declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeclaredQueue {
    /// Messages that wait in it, as far as the broker knows.
    pub messages: u64,
    /// Who consumes from it.
    pub consumers: u32,
    /// Whether it existed in another shape than asked for, or could not be declared, and is used
    /// as it is.
    pub as_found: bool,
}

impl DeclaredQueue {
    /// What the broker said of a queue.
    pub fn new(messages: u64, consumers: u32, as_found: bool) -> Self {
        Self { messages, consumers, as_found }
    }
}
