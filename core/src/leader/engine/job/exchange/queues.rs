//! The queues of a spread exchange.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The queues of a spread exchange, one for each partition, as far as the leader knows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queues {
    /// Whether all of them were declared. Before that, no task that feeds the exchange goes out
    /// (rule 29).
    is_open: bool,
    /// The partitions whose queues are not deleted.
    live: BTreeSet<u32>,
    /// The number of blocks of the leader on their way to them.
    publishing: usize,
    /// The partitions that tasks read which are out, with the number of these tasks. It is more
    /// than one only after a copy was given up too early.
    readers: BTreeMap<u32, u32>,
    /// When they were declared or renewed, in healthy time; `None` if they are to be renewed soon.
    renewed: Option<Duration>,
    /// Whether a declaration or renewal is under way. There is one at a time: a broker that is slow
    /// takes longer for one than the interval between two.
    is_renewing: bool,
    /// A queue that is inaccessible, and why.
    pub(crate) down: Option<(u32, String)>,
}

impl Queues {
    /// The queues of this many partitions, whose declaration begins.
    pub(super) fn declaring(partitions: u32, now: Duration) -> Self {
        Self {
            live: (0..partitions).collect(),
            renewed: Some(now),
            is_renewing: true,
            ..Self::default()
        }
    }

    pub(crate) fn open(&mut self) {
        self.is_open = true;
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// The partitions whose queues are not deleted.
    pub(crate) fn live(&self) -> impl Iterator<Item = u32> + '_ {
        self.live.iter().copied()
    }

    /// The queues that are to be deleted.
    pub(crate) fn take_live(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.live).into_iter().collect()
    }

    /// Whether the queue of a partition is not deleted.
    pub(crate) fn is_live(&self, partition: u32) -> bool {
        self.live.contains(&partition)
    }

    /// Blocks of the leader are on their way.
    pub(super) fn publish(&mut self, blocks: usize) {
        self.publishing += blocks;
    }

    /// One of them has arrived.
    pub(super) fn published(&mut self) {
        self.publishing = self.publishing.saturating_sub(1);
    }

    /// Whether all blocks that were written are in the queues.
    pub(super) fn is_complete(&self) -> bool {
        self.is_open && self.publishing == 0
    }

    /// Whether no task that is out reads one of these partitions (rule 35).
    pub(crate) fn are_free(&self, partitions: &[u32]) -> bool {
        !partitions.iter().any(|partition| self.readers.contains_key(partition))
    }

    /// A task that reads these partitions goes out.
    pub(crate) fn begin_reading(&mut self, partitions: &[u32]) {
        partitions.iter().for_each(|it| *self.readers.entry(*it).or_default() += 1);
    }

    /// A task that reads these partitions is no longer out.
    pub(crate) fn end_reading(&mut self, partitions: &[u32]) {
        for partition in partitions {
            if let Some(tasks) = self.readers.get_mut(partition) {
                *tasks -= 1;
                if *tasks == 0 {
                    self.readers.remove(partition);
                }
            }
        }
    }

    /// Whether they are to be renewed, after this long since the last time.
    pub(crate) fn are_due(&self, now: Duration, interval: Duration) -> bool {
        let is_old = |renewed| now.saturating_sub(renewed) >= interval;
        !self.is_renewing && self.renewed.is_none_or(is_old)
    }

    /// They are to be renewed as soon as no renewal is under way: one of them may be gone.
    pub(crate) fn make_due(&mut self) {
        self.renewed = None;
    }

    /// A renewal begins, unless one is under way.
    pub(crate) fn begin_renewal(&mut self, now: Duration) -> bool {
        let begins = !std::mem::replace(&mut self.is_renewing, true);
        if begins {
            self.renewed = Some(now);
        }
        begins
    }

    /// The declaration or renewal is over.
    pub(crate) fn end_renewal(&mut self, now: Duration) {
        self.is_renewing = false;
        self.renewed = self.renewed.and(Some(now));
    }
}

#[cfg(test)]
impl Queues {
    /// All but the clock.
    pub(super) fn canonical(&self) -> String {
        let Self { is_open, live, publishing, readers, .. } = self;
        format!("{is_open} {live:?} {publishing} {readers:?}")
    }
}
