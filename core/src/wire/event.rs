//! Messages from workers to all leaders.

use serde::{Deserialize, Serialize};

use super::envelope::headed_only;
use crate::{broker::Pool, id::WorkerId};

/// A message from a worker to all leaders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// A worker has connected, for the first time or again.
    Hello(Presence),
    /// A worker is live: sent at once after the first `Alive` of a leader, then every
    /// [`HEARTBEAT`](super::timing::HEARTBEAT).
    Presence(Presence),
    /// A worker has ended.
    Bye {
        /// The worker.
        worker: WorkerId,
    },
}

/// The most operations that a presence lists; a worker with more lists none.
pub const MAX_LISTED: usize = 4_096;

/// A worker, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The worker.
    pub worker: WorkerId,
    /// Host name and process id by default, for logs.
    pub name: String,
    /// The version of Phalanx that it was built with, for logs.
    pub version: String,
    /// The pools that it serves.
    pub pools: Vec<Pool>,
    /// Blocking executions at once.
    pub slots: u32,
    /// Asynchronous elements at once.
    pub async_slots: u32,
    /// Whether it runs isolated tasks in child processes, for logs.
    pub isolates: bool,
    /// The names and fingerprints of its operations, if a leader has asked for them (rule 10); at
    /// most [`MAX_LISTED`](super::MAX_LISTED).
    pub operations: Option<Vec<(String, u64)>>,
}
headed_only!(Event);
