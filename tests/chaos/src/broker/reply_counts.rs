//! Counts of the replies that a leader receives.

use std::{
    collections::HashSet,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use phalanx_core::{
    broker::MessageKind,
    id::{CopyId, TaskNumber},
};

/// The replies that the leader of this process has received.
pub(crate) static REPLY_COUNTS: LazyLock<ReplyCounts> = LazyLock::new(ReplyCounts::default);

/// Counts of the replies that a leader receives.
#[derive(Debug, Default)]
pub(crate) struct ReplyCounts {
    results: AtomicU64,
    duplicates: AtomicU64,
    returns: AtomicU64,
    /// Tasks that have a result. Task numbers are not reused, so every further result of a task is
    /// a duplicate. Grows until the run ends.
    with_result: Mutex<HashSet<TaskNumber>>,
}

impl ReplyCounts {
    pub(super) fn count(&self, kind: Option<MessageKind>, copy: Option<CopyId>) {
        match kind {
            Some(MessageKind::Result) => {
                self.results.fetch_add(1, Ordering::Relaxed);
                let task = copy.map(|copy| copy.task);
                let mut tasks = self.with_result.lock().unwrap_or_else(PoisonError::into_inner);
                if !task.is_some_and(|task| tasks.insert(task)) {
                    self.duplicates.fetch_add(1, Ordering::Relaxed);
                }
            }
            Some(MessageKind::Return) => {
                self.returns.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Results, duplicates included.
    pub(crate) fn results(&self) -> u64 {
        self.results.load(Ordering::Relaxed)
    }

    /// Results of tasks that already had one.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    /// Tasks that workers returned unrun.
    pub(crate) fn returns(&self) -> u64 {
        self.returns.load(Ordering::Relaxed)
    }
}
