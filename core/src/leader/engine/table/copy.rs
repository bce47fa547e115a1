//! The published copies of a task.

use std::time::Duration;

use crate::id::WorkerId;

/// One published copy of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskCopy {
    /// The number of the copy among those of its task, from 1.
    pub(crate) attempt: u32,
    /// Whether the copy asks to be run in a child process.
    pub(crate) isolated: bool,
    pub(crate) state: CopyState,
}

/// The state of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyState {
    /// On its way to the broker.
    Publishing,
    /// The broker has confirmed it: it is in the queue, or a worker runs it.
    Queued {
        /// The order number of its confirm: a probe with a higher number was published after the
        /// copy.
        order: u64,
        /// When it was confirmed, in quiet time.
        since: Duration,
    },
    /// A worker runs it and renews its lease; the delivery is settled.
    Leased {
        worker: WorkerId,
        /// When the lease was renewed last, in quiet time.
        renewed: Duration,
        /// The batch offset of the element that ran then.
        offset: u32,
        /// Whether it runs in the worker's own process although it is isolated, and so kills the
        /// worker if it kills its process.
        in_process: bool,
    },
}

impl TaskCopy {
    pub(super) fn new(attempt: u32, isolated: bool) -> Self {
        Self { attempt, isolated, state: CopyState::Publishing }
    }

    /// The worker that leases the copy.
    pub(crate) fn holder(&self) -> Option<WorkerId> {
        match self.state {
            CopyState::Leased { worker, .. } => Some(worker),
            _ => None,
        }
    }
}
