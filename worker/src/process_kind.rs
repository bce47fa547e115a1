//! A worker of a fleet, or a child process of one.

use std::{fmt, sync::Arc};

use phalanx_core::{id::WorkerId, wire::TaskHeader};

use crate::gathering::GatheredTask;

/// Receives the offset of the first element of each chunk that begins.
pub(crate) type ChunkReporter = Arc<dyn Fn(u32) + Send + Sync>;

/// What a parent has gathered for its tasks: each can be taken once.
pub(crate) type GatheredTasks = Arc<dyn Fn(&TaskHeader) -> Option<GatheredTask> + Send + Sync>;

/// What kind of process a worker runs in.
#[derive(Clone)]
pub(crate) enum ProcessKind {
    /// A worker of a fleet.
    Worker,
    /// A child process that runs isolated tasks for the worker `parent` and uses its identity. The
    /// parent renews leases, watches leaders, and isolates nothing further.
    Child {
        parent: WorkerId,
        /// Makes what reports the progress of a task to the parent, so that the element that ends
        /// this process is known.
        reporters: Arc<dyn Fn(&TaskHeader) -> ChunkReporter + Send + Sync>,
        /// Takes what a task has gathered: the parent reads its queues.
        gathered: GatheredTasks,
    },
}

impl fmt::Debug for ProcessKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker => f.write_str("Worker"),
            Self::Child { parent, .. } => {
                f.debug_struct("Child").field("parent", parent).finish_non_exhaustive()
            }
        }
    }
}
