//! The blocks that a leader holds for its jobs, and those that it may still get (rule 28).

use std::collections::BTreeMap;

use crate::id::{JobId, TaskNumber};

/// The most bytes of blocks that the leader of a fleet holds, with the caps of the tasks that are
/// out.
pub(crate) const MAX_BLOCKS: usize = 32 << 20;

/// The least cap of a task that feeds an exchange, in bytes.
pub(crate) const LEAST_CAP: usize = 1 << 10;

/// The blocks of all jobs of a leader.
#[derive(Debug, Clone, Default)]
pub(crate) struct BlockCredit {
    /// The most bytes; `None` in memory, where blocks take the memory of the data itself.
    limit: Option<usize>,
    /// The bytes that are held for each job.
    jobs: BTreeMap<JobId, usize>,
    /// Their sum.
    held: usize,
    /// The caps of the tasks that are out and feed an exchange.
    caps: BTreeMap<TaskNumber, usize>,
    /// Their sum.
    expected: usize,
}

impl BlockCredit {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// The most bytes; `None` in memory.
    pub(crate) fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// A job holds this many bytes of blocks now. Returns whether it holds more than before, and
    /// all jobs together more than the limit: a result can be larger than its cap.
    pub(crate) fn record(&mut self, job: JobId, bytes: usize) -> bool {
        let before = self.jobs.insert(job, bytes).unwrap_or(0);
        self.held = self.held - before + bytes;
        bytes > before && self.limit.is_some_and(|limit| self.held > limit)
    }

    /// A job is over, or will be at the end of the step.
    pub(crate) fn forget(&mut self, job: JobId) {
        self.held -= self.jobs.remove(&job).unwrap_or(0);
    }

    /// The bytes of all blocks.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// The bytes that are neither held nor expected.
    fn free(&self) -> usize {
        let limit = self.limit.unwrap_or(usize::MAX);
        limit.saturating_sub(self.held).saturating_sub(self.expected)
    }

    /// A task goes out: with this cap, or with what is left if that is less.
    pub(crate) fn expect(&mut self, task: TaskNumber, cap: usize) {
        self.stop_expecting(task);
        let cap = cap.min(self.free().max(LEAST_CAP));
        self.caps.insert(task, cap);
        self.expected += cap;
    }

    /// A task is no longer out.
    pub(crate) fn stop_expecting(&mut self, task: TaskNumber) {
        self.expected -= self.caps.remove(&task).unwrap_or(0);
    }

    /// The cap of a task that is out; `None` in memory.
    pub(crate) fn cap_of(&self, task: TaskNumber) -> Option<usize> {
        self.limit.and(self.caps.get(&task).copied())
    }

    /// The tasks that are out and feed an exchange, from the oldest.
    pub(crate) fn expecting(&self) -> impl Iterator<Item = TaskNumber> + '_ {
        self.caps.keys().copied()
    }

    /// Whether a task with this cap may go out.
    pub(crate) fn has_room(&self, cap: usize) -> bool {
        cap <= self.free()
    }

    /// Whether a task may go out with a smaller cap than its own. Only one such task is out at a
    /// time. One that reads blocks itself may exceed the limit by the least cap, because it frees
    /// some; its job ends if it does not free enough.
    pub(crate) fn has_least_room(&self, reads_blocks: bool) -> bool {
        self.expected == 0 && (reads_blocks || self.has_room(LEAST_CAP))
    }

    /// Whether the end of this job makes room for a task of another one.
    pub(crate) fn would_make_room(&self, job: JobId) -> bool {
        let freed = self.jobs.get(&job).copied().unwrap_or(0);
        self.free() + freed >= LEAST_CAP
    }

    /// Checks that nothing is held or expected; for a leader without jobs.
    #[cfg(test)]
    pub(crate) fn check_empty(&self) {
        assert_eq!((self.held, self.expected, self.caps.len()), (0, 0, 0), "{self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn id(number: u128) -> JobId {
        JobId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn what_is_held_and_what_is_expected_leave_the_rest_of_the_limit() {
        let mut credit = BlockCredit::new(Some(100 * KIB));
        credit.record(id(1), 60 * KIB);
        assert!(credit.has_room(40 * KIB) && !credit.has_room(40 * KIB + 1));
        credit.expect(TaskNumber(1), 30 * KIB);
        assert!(credit.has_room(10 * KIB) && !credit.has_room(10 * KIB + 1));
        credit.stop_expecting(TaskNumber(1));
        credit.stop_expecting(TaskNumber(1));
        credit.record(id(2), 30 * KIB);
        credit.record(id(1), 50 * KIB);
        assert_eq!(credit.held(), 80 * KIB);
        credit.forget(id(2));
        credit.forget(id(2));
        assert_eq!(credit.held(), 50 * KIB);
        assert!(BlockCredit::new(None).has_room(usize::MAX));
    }

    #[test]
    fn only_a_job_that_grows_beyond_the_limit_crosses_it() {
        let mut credit = BlockCredit::new(Some(100));
        assert_eq!([60, 61].map(|bytes| credit.record(id(1), bytes)), [false; 2]);
        assert_eq!([39, 40, 40].map(|bytes| credit.record(id(2), bytes)), [false, true, false]);
    }

    #[test]
    fn a_single_task_gets_what_is_left_as_its_cap() {
        let mut credit = BlockCredit::new(Some(100 * KIB));
        credit.record(id(1), 90 * KIB);
        assert!(credit.has_least_room(false));
        credit.expect(TaskNumber(1), 50 * KIB);
        assert_eq!(credit.cap_of(TaskNumber(1)), Some(10 * KIB));
        assert!(!credit.has_least_room(true), "one is out");
        credit.stop_expecting(TaskNumber(1));
        credit.record(id(1), 100 * KIB - 1);
        assert!(credit.has_least_room(true) && !credit.has_least_room(false));
        credit.record(id(2), KIB / 2);
        assert_eq!([1, 2, 3].map(|job| credit.would_make_room(id(job))), [true, false, false]);
        credit.expect(TaskNumber(2), 50 * KIB);
        assert_eq!(credit.cap_of(TaskNumber(2)), Some(KIB));
    }
}
