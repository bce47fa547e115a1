//! Outputs of a job on their way to its reader, and the credit that they hold.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use crate::id::JobId;

/// Encoded outputs and where they come from.
#[derive(Debug)]
pub(crate) struct OutputBlock {
    /// The encodings of the outputs, one behind the other.
    pub(crate) values: Bytes,
    /// How many there are.
    pub(crate) count: u32,
    /// The index in the source of each.
    pub(crate) indexes: Indexes,
    /// Gives the bytes back to the flow control when it is dropped.
    pub(crate) credit: CreditGuard,
}

/// Outputs as the engine hands them out.
#[derive(Debug, Clone)]
pub(crate) struct OutputParts {
    pub(crate) values: Bytes,
    pub(crate) count: u32,
    pub(crate) indexes: Indexes,
    /// What the job's credit holds for them.
    pub(crate) charged: usize,
}

/// The index in the source of each output of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Indexes {
    /// `first`, `first + 1`, …
    Range { first: u64 },
    /// One for each output.
    Each(Vec<u64>),
}

impl Indexes {
    /// The index of the output at this place.
    pub(crate) fn get(&self, at: usize) -> u64 {
        match self {
            Self::Range { first } => first + at as u64,
            Self::Each(all) => all.get(at).copied().unwrap_or_default(),
        }
    }
}

/// Gives bytes back to the flow control of a job when it is dropped.
#[derive(Debug)]
pub(crate) struct CreditGuard {
    pub(super) job: JobId,
    pub(super) bytes: usize,
    pub(super) returned: Arc<ReturnedCredit>,
}

impl Drop for CreditGuard {
    fn drop(&mut self) {
        self.returned.give_back(self.job, self.bytes);
    }
}

/// Credit that readers gave back, until the driver picks it up: one entry a job that is read.
#[derive(Debug, Default)]
pub(crate) struct ReturnedCredit {
    entries: std::sync::Mutex<VecDeque<(JobId, usize)>>,
    pub(super) news: tokio::sync::Notify,
}

impl ReturnedCredit {
    fn give_back(&self, job: JobId, bytes: usize) {
        let mut entries = self.entries.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match entries.iter_mut().find(|(entry, _)| *entry == job) {
            Some((_, sum)) => *sum += bytes,
            None => entries.push_back((job, bytes)),
        }
        drop(entries);
        self.news.notify_one();
    }

    pub(super) fn take(&self) -> VecDeque<(JobId, usize)> {
        std::mem::take(&mut *self.entries.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}
