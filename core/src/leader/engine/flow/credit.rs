//! Credit: how many tasks and bytes may be out in one pool.

use std::time::Duration;

use super::Sizing;
use crate::{broker::Pool, plan::Stage};

/// The largest window of a lane, in tasks; or twice its slots, if that is more.
const MAX_WINDOW: u32 = 1024;
/// The window, in tasks, while no live worker serves the pool.
const BLIND_WINDOW: u32 = 4;
/// The number of tasks that are published at once before the first result.
const FIRST_BURST: u32 = 32;
/// The most encoded input that may be out in one lane, in bytes.
const MAX_POOL_BYTES: usize = 64 << 20;

/// The slots that a task competes for: those of one kind in one pool.
///
/// Tasks of both kinds share the queue of their pool, but no slots. So the many asynchronous tasks
/// that may be out do not use up the credit of the blocking ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lane {
    pub(crate) pool: Pool,
    /// Whether the slots are asynchronous.
    pub(crate) is_async: bool,
}

impl Lane {
    /// The lane of the tasks of a stage: asynchronous if one of its steps is.
    pub(crate) fn of(stage: &Stage) -> Self {
        let is_async = stage.steps.iter().any(|step| step.is_async);
        Self { pool: stage.pool.clone(), is_async }
    }
}

/// The credit of one leader in one lane.
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolFlow {
    /// The number of tasks that are out.
    pub(crate) tasks: u32,
    /// Their encoded input, in bytes.
    pub(crate) bytes: usize,
    /// How many short tasks may be out: grows while slots are idle, and shrinks while tasks wait.
    window: u32,
    /// When the first task went out, in healthy time: the start of the ramp before the first
    /// result.
    started: Option<Duration>,
}

impl PoolFlow {
    /// Whether one more task may go out; `now` is in healthy time.
    pub(crate) fn has_credit(&self, sizing: &Sizing, now: Duration) -> bool {
        if self.tasks == 0 {
            return true;
        }
        self.tasks < self.limit(sizing, now) && self.bytes < MAX_POOL_BYTES
    }

    /// How many tasks may be out now, in healthy time.
    pub(crate) fn limit(&self, sizing: &Sizing, now: Duration) -> u32 {
        let slots = sizing.slots;
        if slots == 0 {
            return BLIND_WINDOW;
        }
        if sizing.cost.is_none() {
            // A burst, then seven tasks a millisecond: enough to fill a fleet before the first
            // result, and no flood if the elements turn out to take an hour.
            let since = self.started.map_or(Duration::ZERO, |at| now.saturating_sub(at));
            let ramp = u32::try_from(since.as_millis()).unwrap_or(u32::MAX).saturating_mul(7);
            return FIRST_BURST.saturating_add(ramp).min(slots.saturating_mul(2));
        }
        if sizing.is_long() {
            slots
        } else {
            self.window.clamp(slots.saturating_mul(2), Self::most(slots))
        }
    }

    fn most(slots: u32) -> u32 {
        MAX_WINDOW.max(slots.saturating_mul(2))
    }

    pub(crate) fn charge(&mut self, bytes: usize, now: Duration) {
        self.tasks += 1;
        self.bytes += bytes;
        self.started.get_or_insert(now);
    }

    pub(crate) fn release(&mut self, bytes: usize) {
        debug_assert!(self.tasks > 0 && self.bytes >= bytes, "credit is released once");
        self.tasks = self.tasks.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Adapts the window to the time that a task waited at its worker.
    pub(crate) fn observe(&mut self, waited: Duration, sizing: &Sizing) {
        let slots = sizing.slots.max(1);
        let window = self.window.clamp(slots.saturating_mul(2), Self::most(slots));
        let target = sizing.latency_target.target(slots);
        self.window = if waited > target {
            window - window / 8
        } else if waited < target / 8 {
            // One more for each result: the window doubles with each round trip.
            window.saturating_add(1)
        } else {
            window
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{super::LatencyTarget, *};

    fn sizing(slots: u32, cost: Option<Duration>) -> Sizing {
        Sizing {
            latency_target: LatencyTarget { local: false },
            slots,
            cost,
            remaining: None,
            fixed: None,
            feeding: None,
        }
    }

    #[test]
    fn the_window_of_long_operations_is_the_number_of_slots() {
        let flow = PoolFlow::default();
        assert_eq!(flow.limit(&sizing(7, Some(Duration::from_secs(9))), Duration::ZERO), 7);
    }

    #[test]
    fn the_window_grows_while_slots_idle_and_shrinks_while_tasks_wait() {
        let mut flow = PoolFlow::default();
        let sizing = sizing(4, Some(Duration::from_millis(1)));
        for _ in 0..2000 {
            flow.observe(Duration::ZERO, &sizing);
        }
        assert_eq!(flow.limit(&sizing, Duration::ZERO), MAX_WINDOW);
        for _ in 0..100 {
            flow.observe(Duration::from_secs(1), &sizing);
        }
        assert_eq!(flow.limit(&sizing, Duration::ZERO), 8);
    }

    #[test]
    fn no_number_of_claimed_slots_overflows() {
        let mut flow = PoolFlow::default();
        let sizing = sizing(u32::MAX, Some(Duration::from_millis(1)));
        for _ in 0..2 {
            flow.observe(Duration::ZERO, &sizing);
        }
        assert_eq!(flow.limit(&sizing, Duration::ZERO), u32::MAX);
    }

    #[test]
    fn before_the_first_result_the_window_ramps_up_to_twice_the_slots() {
        let mut flow = PoolFlow::default();
        let sizing = sizing(1000, None);
        flow.charge(1, Duration::ZERO);
        assert_eq!(flow.limit(&sizing, Duration::ZERO), 32);
        assert_eq!(flow.limit(&sizing, Duration::from_millis(100)), 732);
        assert_eq!(flow.limit(&sizing, Duration::from_secs(10)), 2000);
    }
}
