//! Messages from leaders to workers.

use serde::{Deserialize, Serialize};

use super::envelope::headed_only;
use crate::id::{JobId, LeaderId};

/// A message from a leader to workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Control {
    /// The leader is alive, and these are its jobs (rule 21). A job that is not newer than `up_to`
    /// and not in `live` is dead.
    Alive {
        /// The leader.
        leader: LeaderId,
        /// Increases with each `Alive` of this leader; a smaller one is out of date.
        heartbeat: u64,
        /// The newest job that this message covers; `None` before the first job.
        up_to: Option<JobId>,
        /// The jobs that are not over.
        live: Vec<JobId>,
        /// Whether workers are to list their operations in their next presence, which they publish
        /// at once (rule 10).
        asks_for_operations: bool,
    },
    /// A job has ended, some time before the next `Alive` shows it: only a hint.
    Cancel {
        /// The leader of the job.
        leader: LeaderId,
        /// The job.
        job: JobId,
    },
}
headed_only!(Control);
