//! Outputs of a job on their way to its reader, and the credit that they hold.

use std::{collections::VecDeque, sync::Arc};

use crate::{id::JobId, leader::engine::OutputBlock};

/// Outputs of a job, and the credit that they hold until this is dropped.
#[derive(Debug)]
pub(crate) struct CreditedBlock {
    pub(crate) block: OutputBlock,
    pub(crate) credit: CreditGuard,
}

/// Gives bytes back to the flow control of a job when it is dropped.
#[derive(Debug)]
pub(crate) struct CreditGuard {
    pub(in crate::leader) job: JobId,
    pub(in crate::leader) bytes: usize,
    pub(in crate::leader) returned: Arc<ReturnedCredit>,
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

    pub(in crate::leader) fn take(&self) -> VecDeque<(JobId, usize)> {
        std::mem::take(&mut *self.entries.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}
