//! From leaders to all workers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{WireError, answer::headed_only, envelope};
use crate::{
    broker::Pool,
    id::{JobId, LeaderId, WorkerId},
};

/// From leaders to all workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Control {
    /// A leader lives, and these are its jobs: one that is at most `upto` and not in `live` is dead.
    Alive {
        /// Who.
        leader: LeaderId,
        /// Counts up.
        beat: u64,
        /// The newest job that this message speaks of.
        upto: Option<JobId>,
        /// The jobs that are not over.
        live: Vec<JobId>,
    },
    /// A hint that a job is dead.
    Cancel {
        /// Whose.
        leader: LeaderId,
        /// Which.
        job: JobId,
    },
    /// Stop taking tasks, finish what runs, exit.
    DrainWorker {
        /// Who.
        worker: WorkerId,
    },
    /// As `DrainWorker`, for each worker that serves the pool.
    DrainPool {
        /// Which pool.
        pool: Pool,
    },
}
headed_only!(Control);
