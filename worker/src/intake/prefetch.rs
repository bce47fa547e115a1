//! The prefetch: how many deliveries the consumer of a pool holds.

use std::time::Duration;

/// Shorter tasks end sooner than a round trip to the broker, so slots idle unless many are held.
const SHORT_TASK: Duration = Duration::from_millis(2);

/// The prefetch for short tasks.
const SHORT_TASK_PREFETCH: usize = 256;

/// Tunes how many deliveries the consumer of one pool holds.
///
/// The prefetch is small, because no other worker can run the tasks that this one holds. It is
/// larger if slots would idle between two tasks, and it includes all tasks that run asynchronously.
/// The prefetch changes in powers of two, because each increase may cost the broker a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PrefetchController {
    slots: usize,
    pools: usize,
    async_slots: usize,
    prefetch: usize,
}

/// The observations of a worker since the last adjustment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    /// The mean run time of tasks on slot threads.
    pub(super) mean_run_time: Option<Duration>,
    /// Whether a slot thread was idle.
    pub(super) starved: bool,
    /// Slot threads that are leased: no delivery should wait for them.
    pub(super) leased: usize,
    /// Tasks that run asynchronously.
    pub(super) running_async: usize,
}

impl PrefetchController {
    /// For one of `pools`, which share the slots. Each pool may fill all slots: the others may be
    /// empty.
    pub(super) fn new(slots: usize, async_slots: usize, pools: usize) -> Self {
        let mut controller = Self { slots, pools: pools.max(1), async_slots, prefetch: 0 };
        controller.prefetch = controller.baseline(0);
        controller
    }

    /// The prefetch for tasks that are not short, while `leased` slots are occupied.
    fn baseline(self, leased: usize) -> usize {
        let slots = self.slots.saturating_sub(leased);
        (2 * slots).div_ceil(self.pools).max(slots).max(1)
    }

    /// The largest prefetch of any pool.
    pub(crate) fn max_prefetch(slots: usize, async_slots: usize) -> usize {
        SHORT_TASK_PREFETCH.max(2 * slots) + (2 * async_slots).next_power_of_two()
    }

    pub(super) fn prefetch(self) -> u16 {
        u16::try_from(self.prefetch).unwrap_or(u16::MAX)
    }

    /// Adapts the prefetch to the load; `true` if it changes.
    pub(super) fn adjust(&mut self, load: Load) -> bool {
        let baseline = self.baseline(load.leased);
        let is_deep = self.prefetch >= SHORT_TASK_PREFETCH.max(baseline);
        let blocking = match load.mean_run_time {
            Some(mean) if mean < SHORT_TASK && (load.starved || is_deep) => SHORT_TASK_PREFETCH,
            // Hysteresis: between the two thresholds nothing changes.
            Some(mean) if mean < 2 * SHORT_TASK && is_deep => SHORT_TASK_PREFETCH,
            _ => 0,
        };
        let running = load.running_async.min(self.async_slots);
        let asynchronous = match running {
            0 => 0,
            running => (2 * running).next_power_of_two(),
        };
        let wanted = blocking.max(baseline) + asynchronous;
        // A small decrease during a lull would soon be reversed.
        let is_lull = wanted < self.prefetch && wanted * 4 > self.prefetch && asynchronous > 0;
        if wanted == self.prefetch || is_lull {
            return false;
        }
        self.prefetch = wanted;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocking(mean: Duration, starved: bool) -> Load {
        Load { mean_run_time: Some(mean), starved, ..Load::default() }
    }

    #[test]
    fn the_prefetch_is_twice_the_slots() {
        assert_eq!(PrefetchController::new(4, 256, 1).prefetch(), 8);
        assert_eq!(PrefetchController::new(4, 256, 2).prefetch(), 4);
        assert_eq!(PrefetchController::new(1, 256, 3).prefetch(), 1);
    }

    #[test]
    fn leased_slots_do_not_count() {
        let mut controller = PrefetchController::new(4, 256, 1);
        for (leased, held) in [(1, 6), (3, 2), (4, 1), (0, 8)] {
            assert!(controller.adjust(Load { leased, ..Load::default() }));
            assert_eq!(controller.prefetch(), held);
        }
    }

    #[test]
    fn the_prefetch_is_large_for_short_tasks_that_leave_slots_idle() {
        let mut controller = PrefetchController::new(4, 256, 1);
        assert!(!controller.adjust(blocking(Duration::from_millis(1), false)));
        assert!(controller.adjust(blocking(Duration::from_millis(1), true)));
        assert_eq!(controller.prefetch(), 256);
        assert!(!controller.adjust(blocking(Duration::from_millis(1), false)));
        assert!(!controller.adjust(blocking(Duration::from_millis(3), false)));
        assert!(controller.adjust(blocking(Duration::from_millis(5), false)));
        assert_eq!(controller.prefetch(), 8);
    }

    #[test]
    fn asynchronous_tasks_are_added_and_grow_up_to_their_slots() {
        let mut controller = PrefetchController::new(2, 256, 1);
        let mut changes = 0;
        for _ in 0..20 {
            let running_async = usize::from(controller.prefetch()).min(256);
            changes += usize::from(controller.adjust(Load { running_async, ..Load::default() }));
        }
        assert_eq!(controller.prefetch(), 4 + 512);
        assert!(changes <= 8, "{changes} changes");
    }
}
