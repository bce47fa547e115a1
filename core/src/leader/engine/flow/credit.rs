//! Credit: how much may be out with the workers of one pool.

use std::time::Duration;

use super::Sizing;
use crate::{broker::Pool, plan::Stage};

/// Tasks that may be out in one pool, beyond which growth stops (or twice the slots, if more).
const MAX_WINDOW: u32 = 1024;
/// Tasks that may be out while no slot is known.
const BLIND_WINDOW: u32 = 4;
/// Tasks that are sent at once before anything has been measured.
const FIRST_BURST: u32 = 32;
/// Encoded input that may be out in one pool.
const MAX_POOL_BYTES: usize = 64 << 20;
/// Whose slots tasks wait for. Those of both kinds of one pool share a queue, but no slots: what
/// many asynchronous tasks have out must not count against the few that compute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lane {
    pub(crate) pool: Pool,
    /// Whether they run in asynchronous slots.
    pub(crate) is_async: bool,
}

impl Lane {
    /// Where the tasks of a stage run.
    pub(crate) fn of(stage: &Stage) -> Self {
        let is_async = stage.steps.iter().any(|step| step.is_async);
        Self { pool: stage.pool.clone(), is_async }
    }
}

/// The credit of one (leader, lane).
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolFlow {
    /// Tasks that are out.
    pub(crate) tasks: u32,
    /// Their encoded input.
    pub(crate) bytes: usize,
    /// Grows while workers report idle slots, shrinks while tasks wait.
    window: u32,
    /// When the first task went out: the ramp before the first answer counts from here.
    started: Option<Duration>,
}

impl PoolFlow {
    /// Whether one more task of new input may go out.
    pub(crate) fn has_credit(&self, sizing: &Sizing, now: Duration) -> bool {
        if self.tasks == 0 {
            return true;
        }
        self.tasks < self.limit(sizing, now) && self.bytes < MAX_POOL_BYTES
    }

    /// How many tasks may be out now.
    pub(crate) fn limit(&self, sizing: &Sizing, now: Duration) -> u32 {
        let slots = sizing.slots;
        if slots == 0 {
            return BLIND_WINDOW;
        }
        if sizing.cost.is_none() {
            // A burst, then seven a millisecond: enough to fill a fleet before the first answer,
            // and no flood where the answer is that elements take an hour.
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
        debug_assert!(self.tasks > 0 && self.bytes >= bytes, "credit comes back once");
        self.tasks = self.tasks.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Learns from how long a task waited on its worker.
    pub(crate) fn observe(&mut self, waited: Duration, sizing: &Sizing) {
        let slots = sizing.slots.max(1);
        let window = self.window.clamp(slots.saturating_mul(2), Self::most(slots));
        let target = sizing.latency_target.target(slots);
        self.window = if waited > target {
            window - window / 8
        } else if waited < target / 8 {
            // One more for each answer: doubles in each round of the window.
            window + 1
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
        }
    }

    #[test]
    fn long_operations_get_as_many_tasks_as_there_are_slots() {
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
    fn before_the_first_answer_the_window_ramps_up_to_twice_the_slots() {
        let mut flow = PoolFlow::default();
        let sizing = sizing(1000, None);
        flow.charge(1, Duration::ZERO);
        assert_eq!(flow.limit(&sizing, Duration::ZERO), 32);
        assert_eq!(flow.limit(&sizing, Duration::from_millis(100)), 732);
        assert_eq!(flow.limit(&sizing, Duration::from_secs(10)), 2000);
    }
}
