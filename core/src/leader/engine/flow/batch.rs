//! Batch sizes: the number of elements whose measured cost adds up to the latency target.

use std::time::Duration;

/// The largest encoded size of a batch, in bytes; a larger element is a batch by itself.
pub(crate) const MAX_BATCH_BYTES: usize = 256 << 10;

/// The largest encoded size of a batch that feeds an exchange whose blocks stay in this process, or
/// go through queues, in bytes. The more rows a task makes, the more of them have equal keys and are
/// combined, and the larger are its blocks.
const MAX_FEEDING_BYTES: usize = 4 << 20;
/// How much longer such a task may take in this process: its rows are not read before the exchange
/// is sealed.
const FEEDING: u32 = 10;
/// The time that a task should take that feeds a spread exchange (rule 40). It doubles with each
/// [`TASKS_TO_DOUBLE`] tasks, so that even the longest job has few enough of them, up to
/// [`LONGEST_SPREAD`].
const SPREAD: Duration = Duration::from_secs(1);
const TASKS_TO_DOUBLE: u64 = 4_096;
const LONGEST_SPREAD: Duration = Duration::from_secs(64);
/// The encoded size of such batches, one for each slot and source: a part of the credit of a job.
const FEEDING_CREDIT: usize = 8 << 20;

/// The number of results after which a measurement has half its weight.
const HALF_LIFE: f64 = 8.0;

/// The longest latency target: slots are claims of workers, which could be false, and long tasks
/// end at different times.
const LONGEST_TARGET: Duration = Duration::from_secs(5);

/// The latency target: the time that one task should take. It depends on the cost of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LatencyTarget {
    /// Whether messages stay in this process.
    pub(crate) local: bool,
}

impl LatencyTarget {
    /// The time that one task should take while enough work remains.
    pub(crate) fn target(self, slots: u32) -> Duration {
        if self.local {
            Duration::from_millis(5)
        } else {
            (Duration::from_micros(250) * slots).clamp(Duration::from_millis(50), LONGEST_TARGET)
        }
    }

    /// The shortest time that one task should take, however little work remains.
    pub(crate) fn floor(self) -> Duration {
        if self.local { Duration::from_micros(500) } else { Duration::from_millis(5) }
    }
}

/// The measured cost of the elements of a stage: sums in which old results lose weight.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cost {
    seconds: f64,
    elements: f64,
    input_bytes: f64,
    output_bytes: f64,
}

impl Cost {
    /// Adds the measurements of one result; `input` and `output` are in bytes.
    pub(crate) fn observe(&mut self, busy: Duration, elements: u64, input: usize, output: usize) {
        let decay = 0.5_f64.powf(1.0 / HALF_LIFE);
        for (sum, new) in [
            (&mut self.seconds, busy.as_secs_f64()),
            (&mut self.elements, elements as f64),
            (&mut self.input_bytes, input as f64),
            (&mut self.output_bytes, output as f64),
        ] {
            *sum = *sum * decay + new;
        }
    }

    /// The mean time of one element; `None` before the first result.
    pub(crate) fn per_element(&self) -> Option<Duration> {
        // A measured time can be zero: at least a nanosecond keeps quotients finite.
        (self.elements > 0.0)
            .then(|| Duration::from_secs_f64((self.seconds / self.elements).clamp(1e-9, 1e9)))
    }

    /// The expected size of the output for this size of input, in bytes; the same size before the
    /// first result.
    pub(crate) fn expected_output(&self, input: usize) -> usize {
        if self.input_bytes > 0.0 {
            (self.output_bytes / self.input_bytes * input as f64) as usize
        } else {
            input
        }
    }
}

/// The inputs of the formulas that size the next batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizing {
    pub(crate) latency_target: LatencyTarget,
    /// The slots of all live workers in the lane.
    pub(crate) slots: u32,
    /// The mean time of one element; `None` before the first result.
    pub(crate) cost: Option<Duration>,
    /// The number of elements of the stage that no task owns yet; `None` if it is not known.
    pub(crate) remaining: Option<u64>,
    /// The batch size that `.batch(n)` set.
    pub(crate) fixed: Option<u32>,
    /// The exchange that the stage feeds, if it feeds one.
    pub(crate) feeding: Option<Feeding>,
}

/// An exchange that a stage feeds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feeding {
    /// The number of sources of the job.
    pub(crate) sources: usize,
    /// The number of tasks that have fed the exchange, if it is spread.
    pub(crate) spread_tasks: Option<u64>,
}

impl Sizing {
    /// The number of elements that the next batch should have.
    pub(crate) fn elements(&self) -> u64 {
        if let Some(fixed) = self.fixed {
            return u64::from(fixed.max(1));
        }
        let Some(cost) = self.cost.map(|cost| cost.as_secs_f64()) else { return 1 };
        let full = self.target().as_secs_f64() / cost;
        let limit = self.remaining.map_or(f64::INFINITY, |remaining| {
            let share = remaining as f64 / (2.0 * f64::from(self.slots.max(1)));
            share.max(self.latency_target.floor().as_secs_f64() / cost)
        });
        (full.min(limit) as u64).clamp(1, u64::from(u32::MAX))
    }

    /// The time after which a worker replies with the elements that are done, and returns the rest.
    pub(crate) fn time_slice(&self) -> Duration {
        let target = self.target();
        if self.feeding.is_some_and(|feeding| feeding.spread_tasks.is_some()) {
            // What is left is in tasks already, and each cut makes a block for each partition.
            return target.mul_f64(1.5);
        }
        let fair = match (self.remaining, self.cost) {
            (Some(remaining), Some(cost)) => {
                let share =
                    cost.as_secs_f64() * remaining as f64 / (2.0 * f64::from(self.slots.max(1)));
                Duration::from_secs_f64(share.min(1e9)).max(self.latency_target.floor())
            }
            _ => target,
        };
        target.min(fair).mul_f64(1.5)
    }

    /// Whether one element takes longer than one task should.
    pub(crate) fn is_long(&self) -> bool {
        self.cost.is_some_and(|cost| cost > self.target())
    }

    /// The largest encoded size of the next batch, in bytes; a larger element is a batch by itself.
    pub(crate) fn bytes(&self) -> usize {
        let Some(feeding) = self.large_feeding() else { return MAX_BATCH_BYTES };
        let batches = (self.slots.max(1) as usize).saturating_mul(feeding.sources);
        (FEEDING_CREDIT / batches).clamp(MAX_BATCH_BYTES, MAX_FEEDING_BYTES)
    }

    fn target(&self) -> Duration {
        let target = self.latency_target.target(self.slots);
        match self.large_feeding() {
            None => target,
            Some(Feeding { spread_tasks: Some(tasks), .. }) => {
                let doubled = u32::try_from(tasks / TASKS_TO_DOUBLE).unwrap_or(u32::MAX).min(6);
                (SPREAD * (1 << doubled)).clamp(target, LONGEST_SPREAD)
            }
            Some(_) => target * FEEDING,
        }
    }

    /// The exchange that the stage feeds, if the blocks of large tasks can go there: they stay in
    /// this process, or go through queues.
    fn large_feeding(&self) -> Option<Feeding> {
        self.feeding.filter(|it| self.latency_target.local || it.spread_tasks.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizing(cost: Option<Duration>, remaining: Option<u64>) -> Sizing {
        Sizing {
            latency_target: LatencyTarget { local: false },
            slots: 10,
            cost,
            remaining,
            fixed: None,
            feeding: None,
        }
    }

    #[test]
    fn a_batch_that_feeds_an_exchange_in_this_process_is_larger_but_leaves_credit_for_all_slots() {
        let local = LatencyTarget { local: true };
        let feeding = |sources| Some(Feeding { sources, spread_tasks: None });
        let sizing =
            Sizing { feeding: feeding(1), ..sizing(Some(Duration::from_micros(100)), None) };
        assert_eq!((sizing.elements(), sizing.bytes()), (500, MAX_BATCH_BYTES), "it is sent");
        let here = Sizing { latency_target: local, slots: 2, ..sizing };
        assert_eq!((here.elements(), here.bytes()), (500, MAX_FEEDING_BYTES));
        let elsewhere = Sizing { feeding: None, ..here };
        assert_eq!((elsewhere.elements(), elsewhere.bytes()), (50, MAX_BATCH_BYTES));
        assert_eq!(Sizing { slots: 16, ..here }.bytes(), 512 << 10);
        assert_eq!(Sizing { feeding: feeding(8), ..here }.bytes(), 512 << 10);
        assert_eq!(Sizing { slots: u32::MAX, ..here }.bytes(), MAX_BATCH_BYTES);
    }

    #[test]
    fn tasks_that_feed_a_spread_exchange_are_few() {
        let sizing = |tasks| {
            let feeding = Some(Feeding { sources: 1, spread_tasks: Some(tasks) });
            Sizing { feeding, ..sizing(Some(Duration::from_millis(1)), None) }
        };
        let elements = [0, 4_095, 4_096, 8_192, u64::MAX].map(|tasks| sizing(tasks).elements());
        assert_eq!(elements, [1_000, 1_000, 2_000, 4_000, 64_000]);
        assert_eq!(sizing(0).bytes(), FEEDING_CREDIT / 10);
        let end = Sizing { remaining: Some(0), ..sizing(0) };
        assert_eq!(end.time_slice(), Duration::from_millis(1_500));
    }

    #[test]
    fn before_the_first_result_a_batch_has_one_element() {
        assert_eq!(sizing(None, None).elements(), 1);
    }

    #[test]
    fn a_batch_takes_the_target_time_and_shrinks_towards_the_end() {
        let cost = Some(Duration::from_micros(100));
        assert_eq!(sizing(cost, None).elements(), 500);
        assert_eq!(sizing(cost, Some(2_000)).elements(), 100);
        assert_eq!(sizing(cost, Some(20)).elements(), 50, "never below the floor of 5 ms");
    }

    #[test]
    fn a_long_element_is_a_batch_of_its_own() {
        let sizing = sizing(Some(Duration::from_secs(3)), None);
        assert_eq!(sizing.elements(), 1);
        assert!(sizing.is_long());
    }

    #[test]
    fn a_task_is_short_however_many_slots_are_claimed() {
        let claimed = Sizing { slots: u32::MAX, ..sizing(Some(Duration::from_millis(1)), None) };
        assert_eq!(claimed.elements(), 5_000);
        assert!(claimed.time_slice() < Duration::from_secs(10));
    }

    #[test]
    fn old_measurements_lose_weight() {
        let mut cost = Cost::default();
        cost.observe(Duration::from_secs(1), 1, 1, 1);
        for _ in 0..80 {
            cost.observe(Duration::from_millis(1), 1, 1, 1);
        }
        assert!(cost.per_element().unwrap() < Duration::from_millis(2));
    }
}
