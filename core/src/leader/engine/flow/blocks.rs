//! The blocks that a leader holds for its jobs, and those that it may still get (rule 28).

use std::collections::BTreeMap;

use crate::id::{JobId, TaskNumber};

/// The most bytes of blocks that the leader of a fleet holds, with the caps of the tasks that are
/// out. A single exchange may have a quarter of them.
pub(crate) const MAX_BLOCKS: usize = 32 << 20;

/// After how many bytes of outputs a task stops that reads partitions.
pub(crate) const MAX_OUTPUTS: usize = 8 << 20;

/// The same, if the task that goes on has a queue for its outputs. A leader that may hold few blocks
/// reads few outputs at once, too.
pub(crate) fn output_cap(max_blocks: Option<usize>) -> u64 {
    let part = max_blocks.unwrap_or(MAX_BLOCKS) / EXCHANGE_DIVISOR;
    part.clamp(1, MAX_OUTPUTS) as u64
}

/// One exchange may have the limit divided by this.
const EXCHANGE_DIVISOR: usize = 4;

/// The least cap of a task that feeds an exchange, in bytes.
pub(crate) const LEAST_CAP: usize = 1 << 10;

/// An exchange of a job of the leader.
pub(crate) type ExchangeId = (JobId, usize);

/// The blocks of all exchanges of a leader that travel through it.
#[derive(Debug, Clone, Default)]
pub(crate) struct BlockCredit {
    /// The most bytes; `None` in memory, where blocks take the memory of the data itself.
    limit: Option<usize>,
    exchanges: BTreeMap<ExchangeId, Usage>,
    /// The sums of all exchanges.
    total: Usage,
    /// The caps of the tasks that are out and feed an exchange.
    caps: BTreeMap<TaskNumber, (ExchangeId, usize)>,
}

/// The room for the blocks of one more task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It may go out with this cap, in bytes.
    Cap(usize),
    /// There will be room once tasks that are out have written less than they may.
    Later,
    /// There is none, so the exchange must be spread.
    Full,
}

#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    /// The bytes that are held.
    held: usize,
    /// The caps of the tasks that are out.
    expected: usize,
}

impl Usage {
    fn sum(self) -> usize {
        self.held.saturating_add(self.expected)
    }
}

impl BlockCredit {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// An exchange holds this many bytes of blocks now.
    pub(crate) fn record(&mut self, exchange: ExchangeId, bytes: usize) {
        let usage = self.exchanges.entry(exchange).or_default();
        self.total.held = self.total.held - usage.held + bytes;
        usage.held = bytes;
    }

    /// A job is over.
    pub(crate) fn forget(&mut self, job: JobId) {
        self.exchanges.retain(|(of, _), usage| {
            let stays = *of != job;
            if !stays {
                self.total.held -= usage.held;
                self.total.expected -= usage.expected;
            }
            stays
        });
        self.caps.retain(|_, ((of, _), _)| *of != job);
    }

    /// A task that feeds this exchange goes out with this cap.
    pub(crate) fn expect(&mut self, task: TaskNumber, exchange: ExchangeId, cap: usize) {
        self.stop_expecting(task);
        if self.limit.is_none() {
            return;
        }
        self.caps.insert(task, (exchange, cap));
        self.exchanges.entry(exchange).or_default().expected += cap;
        self.total.expected += cap;
    }

    /// A task is no longer out.
    pub(crate) fn stop_expecting(&mut self, task: TaskNumber) {
        if let Some((exchange, cap)) = self.caps.remove(&task)
            && let Some(usage) = self.exchanges.get_mut(&exchange)
        {
            usage.expected -= cap;
            self.total.expected -= cap;
        }
    }

    /// Whether a task that feeds this exchange may go out, with at most the cap `wanted`. No task
    /// gets more than its part of what the exchange may have, so that each of the `slots` has two.
    pub(crate) fn room(&self, exchange: ExchangeId, wanted: usize, slots: u32) -> Room {
        let Some(limit) = self.limit else { return Room::Cap(usize::MAX) };
        let most = limit / EXCHANGE_DIVISOR;
        let part = most / (2 * slots.max(1) as usize);
        let cap = wanted.min(part.max(LEAST_CAP));
        let usage = self.exchanges.get(&exchange).copied().unwrap_or_default();
        let fits = |used: usize, limit: usize| used.saturating_add(cap) <= limit;
        if !fits(self.total.sum(), limit) {
            return Room::Full;
        }
        match fits(usage.sum(), most) {
            true => Room::Cap(cap),
            // Most tasks write less than their caps. The caps that are out are more than half of
            // what the exchange may have, so at least a task for each slot is out.
            false if usage.held < most / 2 && usage.expected > 0 => Room::Later,
            false => Room::Full,
        }
    }

    /// The cap of a task that is out; `None` in memory.
    pub(crate) fn cap_of(&self, task: TaskNumber) -> Option<usize> {
        self.caps.get(&task).map(|(_, cap)| *cap)
    }

    /// Whether an exchange holds more than it may: results can be larger than their caps.
    pub(crate) fn is_exceeded(&self, exchange: ExchangeId) -> bool {
        let Some(limit) = self.limit else { return false };
        let usage = self.exchanges.get(&exchange).copied().unwrap_or_default();
        usage.held > limit / EXCHANGE_DIVISOR || (usage.held > 0 && self.total.held > limit)
    }

    /// Checks that nothing is held or expected; for a leader without jobs.
    #[cfg(test)]
    pub(crate) fn check_empty(&self) {
        assert_eq!(
            (self.total.sum(), self.exchanges.len(), self.caps.len()),
            (0, 0, 0),
            "{self:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn id(number: u128) -> ExchangeId {
        (JobId(uuid::Uuid::from_u128(number)), 0)
    }

    #[test]
    fn what_an_exchange_holds_and_expects_leaves_the_rest_of_its_quarter() {
        let mut credit = BlockCredit::new(Some(400 * KIB));
        let room = |credit: &BlockCredit, wanted| credit.room(id(1), wanted, 1);
        credit.record(id(1), 60 * KIB);
        assert_eq!(room(&credit, 40 * KIB), Room::Cap(40 * KIB));
        assert_eq!(room(&credit, 41 * KIB), Room::Full);
        credit.record(id(1), 30 * KIB);
        credit.expect(TaskNumber(1), id(1), 40 * KIB);
        assert_eq!(room(&credit, 30 * KIB), Room::Cap(30 * KIB));
        assert_eq!(room(&credit, 31 * KIB), Room::Later);
        credit.stop_expecting(TaskNumber(1));
        credit.stop_expecting(TaskNumber(1));
        assert_eq!(room(&credit, 70 * KIB), Room::Cap(50 * KIB), "half, for two tasks a slot");
        credit.record(id(1), 101 * KIB);
        assert!(credit.is_exceeded(id(1)));
        assert_eq!(BlockCredit::new(None).room(id(1), 7, 1), Room::Cap(usize::MAX));
    }

    #[test]
    fn caps_are_so_small_that_each_slot_gets_two_tasks() {
        let credit = BlockCredit::new(Some(400 * KIB));
        assert_eq!(credit.room(id(1), 40 * KIB, 5), Room::Cap(10 * KIB));
        assert_eq!(credit.room(id(1), 40 * KIB, u32::MAX), Room::Cap(LEAST_CAP));
    }

    #[test]
    fn all_exchanges_together_have_the_limit() {
        let mut credit = BlockCredit::new(Some(400 * KIB));
        (1..=3).for_each(|exchange| credit.record(id(exchange), 100 * KIB));
        credit.expect(TaskNumber(1), id(4), 60 * KIB);
        assert_eq!(credit.room(id(5), 40 * KIB, 1), Room::Cap(40 * KIB));
        assert_eq!(credit.room(id(5), 41 * KIB, 1), Room::Full);
        credit.record(id(5), 101 * KIB);
        assert!(
            credit.is_exceeded(id(5)) && credit.is_exceeded(id(1)) && !credit.is_exceeded(id(6))
        );
        (1..=5).for_each(|exchange| credit.forget(id(exchange).0));
        credit.stop_expecting(TaskNumber(1));
        credit.check_empty();
    }
}
