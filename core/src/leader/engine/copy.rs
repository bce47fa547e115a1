//! The published copies of a task.

use std::time::Duration;

use crate::id::WorkerId;

/// One published copy of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskCopy {
    pub(crate) attempt: u32,
    /// Whether it asks to be run in a process of its own.
    pub(crate) isolated: bool,
    pub(crate) state: CopyState,
}

/// Where a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyState {
    /// On its way to the broker.
    Publishing,
    /// The broker has confirmed it: it waits there, or runs.
    Queued {
        /// Its confirm, in the order of all confirms and probes: a probe with a higher number was
        /// published behind it.
        order: u64,
        /// When, in quiet time.
        since: Duration,
    },
    /// A worker runs it and says so again and again; the broker knows nothing of it any more.
    Leased {
        worker: WorkerId,
        /// When it said so last, in quiet time.
        heard: Duration,
        /// The offset of the element that it ran then.
        offset: u32,
    },
}

impl TaskCopy {
    pub(crate) fn new(attempt: u32, isolated: bool) -> Self {
        Self { attempt, isolated, state: CopyState::Publishing }
    }

    /// The worker that keeps it alive.
    pub(crate) fn holder(&self) -> Option<WorkerId> {
        match self.state {
            CopyState::Leased { worker, .. } => Some(worker),
            _ => None,
        }
    }
}
