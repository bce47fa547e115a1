//! The blocks that a leader holds for its jobs, and those that it may still get (rule 28).

use std::collections::BTreeMap;

use crate::id::{JobId, TaskNumber};

/// The most bytes of blocks that the leader of a fleet holds, with the caps of the tasks that are
/// out.
pub(crate) const MAX_BLOCKS: usize = 32 << 20;

/// The blocks of all jobs of a leader.
///
/// A task that feeds an exchange waits only for what comes without any further block: the replies
/// of tasks that are out, and the end of partitions whose elements go into no other exchange. So no
/// two jobs wait for each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct BlockCredit {
    /// The most bytes; `None` in memory, where blocks take the memory of the data itself.
    limit: Option<usize>,
    jobs: BTreeMap<JobId, HeldBlocks>,
    /// The caps of the tasks that are out and feed an exchange.
    caps: BTreeMap<TaskNumber, usize>,
    /// Their sum.
    expected: usize,
}

/// The blocks of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct HeldBlocks {
    pub(crate) bytes: usize,
    /// Whether one of its exchanges is still fed.
    pub(crate) grows: bool,
    /// Whether it lets go of some without any further block.
    pub(crate) drains: bool,
}

/// Whether a task that feeds an exchange may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockRoom {
    Free,
    /// Once replies come, or blocks are let go of.
    Later,
    /// Nothing will make room for it.
    Never,
}

impl BlockCredit {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// The most bytes; `None` in memory.
    pub(crate) fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// A job holds these blocks now.
    pub(crate) fn record(&mut self, job: JobId, held: HeldBlocks) {
        self.jobs.insert(job, held);
    }

    /// A job is over, or will be at the end of the step.
    pub(crate) fn forget(&mut self, job: JobId) {
        self.jobs.remove(&job);
    }

    /// The bytes of all blocks.
    pub(crate) fn held(&self) -> usize {
        self.jobs.values().map(|job| job.bytes).sum()
    }

    /// A task with this cap goes out.
    pub(crate) fn expect(&mut self, task: TaskNumber, cap: usize) {
        self.stop_expecting(task);
        self.caps.insert(task, cap);
        self.expected += cap;
    }

    /// A task is no longer out.
    pub(crate) fn stop_expecting(&mut self, task: TaskNumber) {
        self.expected -= self.caps.remove(&task).unwrap_or(0);
    }

    /// Whether a task with this cap may go out.
    pub(crate) fn room(&self, cap: usize) -> BlockRoom {
        let needed = self.held() + self.expected + cap;
        if self.limit.is_none_or(|limit| needed <= limit) {
            BlockRoom::Free
        } else if self.expected > 0 || self.jobs.values().any(|job| job.drains) {
            BlockRoom::Later
        } else {
            BlockRoom::Never
        }
    }

    /// Whether the blocks alone exceed the limit: results can be larger than their caps.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.limit.is_some_and(|limit| self.held() > limit)
    }

    /// The job that holds the most, of those that will hold more.
    pub(crate) fn largest_growing(&self) -> Option<JobId> {
        let growing = self.jobs.iter().filter(|(_, job)| job.grows);
        growing.max_by_key(|(_, job)| job.bytes).map(|(id, _)| *id)
    }

    /// Checks that nothing is held or expected; for a leader without jobs.
    #[cfg(test)]
    pub(crate) fn check_empty(&self) {
        assert_eq!((self.held(), self.expected, self.caps.len()), (0, 0, 0), "{self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> JobId {
        JobId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn a_task_waits_for_what_comes_without_further_blocks_and_for_nothing_else() {
        let mut credit = BlockCredit::new(Some(100));
        let held = |bytes, drains: bool| HeldBlocks { bytes, grows: !drains, drains };
        credit.record(id(1), held(60, false));
        assert_eq!((credit.room(40), credit.room(41)), (BlockRoom::Free, BlockRoom::Never));
        credit.expect(TaskNumber(1), 30);
        assert_eq!((credit.room(10), credit.room(11)), (BlockRoom::Free, BlockRoom::Later));
        credit.stop_expecting(TaskNumber(1));
        credit.stop_expecting(TaskNumber(1));
        credit.record(id(2), held(30, true));
        assert_eq!((credit.room(10), credit.room(11)), (BlockRoom::Free, BlockRoom::Later));
        credit.forget(id(2));
        assert_eq!((credit.room(40), credit.room(41)), (BlockRoom::Free, BlockRoom::Never));
    }

    #[test]
    fn the_largest_of_the_jobs_that_grow_is_found() {
        let mut credit = BlockCredit::new(Some(100));
        for (number, bytes, grows) in [(1, 70, false), (2, 20, true), (3, 30, true), (4, 5, true)] {
            credit.record(id(number), HeldBlocks { bytes, grows, drains: !grows });
        }
        assert_eq!((credit.largest_growing(), credit.is_exceeded()), (Some(id(3)), true));
        assert_eq!(BlockCredit::new(None).room(usize::MAX / 2), BlockRoom::Free);
    }
}
