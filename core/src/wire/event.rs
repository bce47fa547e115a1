//! From workers to all leaders.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{WireError, answer::headed_only, envelope};
use crate::{broker::Pool, id::WorkerId};

/// From workers to all leaders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// A worker has (re)connected.
    Hello(Presence),
    /// A worker is there: at once when a leader says `Alive` for the first time, then every 5 s.
    Presence(Presence),
    /// A worker goes.
    Bye {
        /// Who.
        worker: WorkerId,
    },
}

/// What a worker says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Who.
    pub worker: WorkerId,
    /// Host name and process id, for people.
    pub name: String,
    /// Counts its (re)connections.
    pub incarnation: u64,
    /// The pools that it serves.
    pub pools: Vec<Pool>,
    /// Concurrent blocking executions.
    pub slots: u32,
    /// Concurrent asynchronous executions.
    pub async_slots: u32,
    /// Slots with nothing to do.
    pub free: u32,
    /// What it can run.
    pub operations: Vec<OfferedOperation>,
    /// Its version of Phalanx.
    pub version: String,
}

/// An operation that a worker can run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedOperation {
    /// Its name.
    pub name: String,
    /// Its fingerprint there.
    pub fingerprint: u64,
}
headed_only!(Event);
