//! The reasons to end an execution before the end of its batch.

use std::sync::atomic::{AtomicU8, Ordering};

use phalanx_core::wire::NotRunReason;

/// Why an execution ends before the end of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stop {
    /// The job is dead.
    Cancelled = 1,
    /// The worker drains, and the time for running tasks is over.
    Draining = 2,
}

impl Stop {
    pub(super) fn reason(self) -> NotRunReason {
        match self {
            Self::Cancelled => NotRunReason::Cancelled,
            Self::Draining => NotRunReason::Draining,
        }
    }
}

/// A [`Stop`], or 0. Relaxed: it is read between chunks, and no other memory depends on it.
#[derive(Debug, Default)]
pub(super) struct StopFlag(AtomicU8);

impl StopFlag {
    /// Sets the flag. The first reason is kept: a drain does not revive a dead job.
    pub(super) fn set(&self, stop: Stop) {
        let _ = self.0.compare_exchange(0, stop as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<Stop> {
        match self.0.load(Ordering::Relaxed) {
            1 => Some(Stop::Cancelled),
            2 => Some(Stop::Draining),
            _ => None,
        }
    }
}
