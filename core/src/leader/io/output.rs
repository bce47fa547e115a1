//! Blocks of outputs on their way to the reader of a job, and the credit that they hold.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::{id::JobId, leader::engine::OutputBlock};

/// A block of outputs, and the credit that it holds until it is dropped.
#[derive(Debug)]
pub(crate) struct CreditedBlock {
    pub(crate) block: OutputBlock,
    pub(crate) credit: CreditGuard,
}

/// Returns bytes to the account of a job when it is dropped.
#[derive(Debug)]
pub(crate) struct CreditGuard {
    job: JobId,
    bytes: usize,
    returned: Arc<ReturnedCredit>,
}

impl CreditGuard {
    pub(in crate::leader) fn new(job: JobId, bytes: usize, returned: Arc<ReturnedCredit>) -> Self {
        Self { job, bytes, returned }
    }
}

impl Drop for CreditGuard {
    fn drop(&mut self) {
        self.returned.add(self.job, self.bytes);
    }
}

/// The credit that readers have returned and the driver has not taken yet: one entry for each job.
#[derive(Debug, Default)]
pub(crate) struct ReturnedCredit {
    entries: Mutex<VecDeque<(JobId, usize)>>,
    arrival: Notify,
}

impl ReturnedCredit {
    fn add(&self, job: JobId, bytes: usize) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match entries.iter_mut().find(|(entry, _)| *entry == job) {
            Some((_, sum)) => *sum += bytes,
            None => entries.push_back((job, bytes)),
        }
        drop(entries);
        self.arrival.notify_one();
    }

    /// Resolves when credit has been returned since the last call. Cancel-safe.
    pub(super) async fn arrived(&self) {
        self.arrival.notified().await;
    }

    pub(in crate::leader) fn take(&self) -> VecDeque<(JobId, usize)> {
        std::mem::take(&mut *self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
