//! What a leader hears.

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

/// What the leader of this process has heard.
pub(crate) static CENSUS: LazyLock<Census> = LazyLock::new(Census::default);

#[derive(Debug, Default)]
pub(crate) struct Census {
    results: AtomicU64,
    duplicates: AtomicU64,
    returns: AtomicU64,
    /// Tasks of which a result came. A number is never used again, so each further result of it is
    /// one to be dropped. Bounded by the run, which is no longer than a soak.
    answered: Mutex<HashSet<TaskNumber>>,
}

impl Census {
    /// Counts an answer.
    pub(super) fn count(&self, kind: Option<MessageKind>, copy: Option<CopyId>) {
        match kind {
            Some(MessageKind::Result) => {
                self.results.fetch_add(1, Ordering::Relaxed);
                let task = copy.map(|copy| copy.task);
                let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
                if !task.is_some_and(|task| answered.insert(task)) {
                    self.duplicates.fetch_add(1, Ordering::Relaxed);
                }
            }
            Some(MessageKind::Return) => {
                self.returns.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Results that came.
    pub(crate) fn results(&self) -> u64 {
        self.results.load(Ordering::Relaxed)
    }

    /// Results that came for a task which had its result.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    /// Tasks that were given back unread.
    pub(crate) fn returns(&self) -> u64 {
        self.returns.load(Ordering::Relaxed)
    }
}
