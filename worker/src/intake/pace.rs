//! How many deliveries to hold at once.

use std::time::Duration;

/// Tasks shorter than this do not keep a worker busy for the time of a round trip.
const SHORT: Duration = Duration::from_millis(2);

/// What is held of short tasks.
const SHORT_PREFETCH: usize = 256;

/// How many deliveries the consumer of one pool holds at once.
///
/// Few, because what one worker holds no other can run; more where slots would idle between two
/// tasks, and as many as run asynchronously on top. Changes come in powers of two: each one makes
/// some brokers consume anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    slots: usize,
    pools: usize,
    async_slots: usize,
    prefetch: usize,
}

/// What a worker has seen since the pace was last looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    /// The mean run time of its tasks on slot threads.
    pub(super) mean: Option<Duration>,
    /// Whether a slot had nothing to do.
    pub(super) starved: bool,
    /// Slots that are lent to tasks under a lease: nothing is to wait for them.
    pub(super) lent: usize,
    /// Tasks that run asynchronously.
    pub(super) running_async: usize,
}

impl Pace {
    /// `slots` shared by `pools`. Each pool may fill all slots: the others may be empty.
    pub(super) fn new(slots: usize, async_slots: usize, pools: usize) -> Self {
        let mut pace = Self { slots, pools: pools.max(1), async_slots, prefetch: 0 };
        pace.prefetch = pace.base(0);
        pace
    }

    /// What is held of tasks that are not short, when `lent` slots are not there.
    fn base(self, lent: usize) -> usize {
        let slots = self.slots.saturating_sub(lent);
        (2 * slots).div_ceil(self.pools).max(slots).max(1)
    }

    /// No pool ever holds more.
    pub(crate) fn most(slots: usize, async_slots: usize) -> usize {
        SHORT_PREFETCH.max(2 * slots) + (2 * async_slots).next_power_of_two()
    }

    pub(super) fn prefetch(self) -> u16 {
        u16::try_from(self.prefetch).unwrap_or(u16::MAX)
    }

    /// Whether the prefetch changes.
    pub(super) fn learn(&mut self, sample: Sample) -> bool {
        let base = self.base(sample.lent);
        let is_deep = self.prefetch >= SHORT_PREFETCH.max(base);
        let blocking = match sample.mean {
            Some(mean) if mean < SHORT && (sample.starved || is_deep) => SHORT_PREFETCH,
            // Between the two thresholds it stays as it is.
            Some(mean) if mean < 2 * SHORT && is_deep => SHORT_PREFETCH,
            _ => 0,
        };
        let running = sample.running_async.min(self.async_slots);
        let asynchronous = match running {
            0 => 0,
            running => (2 * running).next_power_of_two(),
        };
        let wanted = blocking.max(base) + asynchronous;
        // Shrinking for a lull would only be undone again.
        let shrinks = wanted < self.prefetch && wanted * 4 > self.prefetch && asynchronous > 0;
        if wanted == self.prefetch || shrinks {
            return false;
        }
        self.prefetch = wanted;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocking(mean: Duration, starved: bool) -> Sample {
        Sample { mean: Some(mean), starved, ..Sample::default() }
    }

    #[test]
    fn a_worker_holds_twice_its_slots() {
        assert_eq!(Pace::new(4, 256, 1).prefetch(), 8);
        assert_eq!(Pace::new(4, 256, 2).prefetch(), 4);
        assert_eq!(Pace::new(1, 256, 3).prefetch(), 1);
    }

    #[test]
    fn what_is_lent_is_not_held_for() {
        let mut pace = Pace::new(4, 256, 1);
        for (lent, held) in [(1, 6), (3, 2), (4, 1), (0, 8)] {
            assert!(pace.learn(Sample { lent, ..Sample::default() }));
            assert_eq!(pace.prefetch(), held);
        }
    }

    #[test]
    fn short_tasks_that_leave_slots_idle_are_held_in_large_numbers() {
        let mut pace = Pace::new(4, 256, 1);
        assert!(!pace.learn(blocking(Duration::from_millis(1), false)));
        assert!(pace.learn(blocking(Duration::from_millis(1), true)));
        assert_eq!(pace.prefetch(), 256);
        assert!(!pace.learn(blocking(Duration::from_millis(1), false)));
        assert!(!pace.learn(blocking(Duration::from_millis(3), false)));
        assert!(pace.learn(blocking(Duration::from_millis(5), false)));
        assert_eq!(pace.prefetch(), 8);
    }

    #[test]
    fn asynchronous_tasks_come_on_top_and_grow_to_their_slots() {
        let mut pace = Pace::new(2, 256, 1);
        let mut changes = 0;
        for _ in 0..20 {
            let running_async = usize::from(pace.prefetch()).min(256);
            changes += usize::from(pace.learn(Sample { running_async, ..Sample::default() }));
        }
        assert_eq!(pace.prefetch(), 4 + 512);
        assert!(changes <= 8, "{changes} changes");
    }
}
