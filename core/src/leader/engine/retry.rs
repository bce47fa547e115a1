//! The retry budget of an element by the cause of its failure, and the back-off before the next
//! try.

use std::time::Duration;

use crate::{
    id::TaskNumber,
    operation::{ErrorKind, OperationError},
    plan::{Backoff, LONGEST_BACKOFF, StepPlan},
};

/// How often an element that crashed its process, alone in its task, is retried.
const CRASH_BUDGET: u32 = 1;

/// Whether the budget of an element that failed on its `tries`-th try allows another one.
pub(crate) fn is_worth_a_retry(step: &StepPlan, error: &OperationError, tries: u32) -> bool {
    let budget = match error.kind() {
        ErrorKind::Transient | ErrorKind::Timeout => step.retries,
        ErrorKind::Crash => CRASH_BUDGET,
        ErrorKind::Fatal | ErrorKind::Panic | ErrorKind::Codec | ErrorKind::TooLarge => 0,
    };
    tries <= budget
}

/// The back-off of an element after its `tries`-th try: the delay that the operation asked for, or
/// else that of the step.
pub(crate) fn delay(
    step: &StepPlan,
    error: &OperationError,
    tries: u32,
    task: TaskNumber,
) -> Duration {
    match error.retry_delay() {
        Some(requested) => requested.min(LONGEST_BACKOFF),
        None => jittered(step.backoff, tries, task),
    }
}

/// The back-off of a task that comes back for no fault of its elements, for the `times`-th time.
pub(crate) fn delay_of_task(times: u32, task: TaskNumber) -> Duration {
    jittered(Backoff::default(), times, task)
}

/// The back-off times a jitter from 0.5 to 1 that depends on the task number alone.
fn jittered(backoff: Backoff, tries: u32, task: TaskNumber) -> Duration {
    let jitter = xxhash_rust::xxh3::xxh3_64(&task.0.to_le_bytes()) as f64 / u64::MAX as f64;
    backoff.after(tries).mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{leader::engine::scenarios::test_leader::step, registry::Verb};

    #[test]
    fn back_offs_double_up_to_a_limit() {
        let (from, to) = (Duration::from_millis(1), Duration::from_secs(300));
        for backoff in [Backoff::default(), Backoff::new(from, to).unwrap()] {
            let (from, to) = backoff.bounds();
            let at = |tries| jittered(backoff, tries, TaskNumber(1));
            assert!(at(1) <= from && at(1) >= from / 2);
            assert!(at(3) >= from * 2 && at(3) <= from * 4);
            for tries in [31, 60, u32::MAX] {
                assert!(at(tries) <= to && at(tries) >= to / 2);
            }
        }
    }

    #[test]
    fn tasks_that_fail_together_are_retried_at_different_times() {
        let delays = (1..100).map(|task| delay_of_task(1, TaskNumber(task)));
        let different: std::collections::HashSet<Duration> = delays.collect();
        assert!(different.len() > 90);
    }

    #[test]
    fn an_element_waits_as_its_step_says() {
        let mut step = step(Verb::Map);
        let busy = OperationError::fatal("busy").transient();
        step.backoff = Backoff::new(Duration::ZERO, Duration::ZERO).unwrap();
        assert_eq!(delay(&step, &busy, 5, TaskNumber(1)), Duration::ZERO);
        step.backoff = Backoff::new(Duration::from_secs(60), Duration::MAX).unwrap();
        assert!(delay(&step, &busy, 1, TaskNumber(1)) >= Duration::from_secs(30));
        assert!(delay(&step, &busy, 60, TaskNumber(1)) <= LONGEST_BACKOFF);
    }

    #[test]
    fn a_delay_that_an_operation_asks_for_is_kept_up_to_a_limit() {
        let error = OperationError::fatal("busy").with_retry_delay(Duration::from_secs(7));
        let step = step(Verb::Map);
        assert_eq!(delay(&step, &error, 1, TaskNumber(1)), Duration::from_secs(7));
        let absurd = OperationError::fatal("busy").with_retry_delay(Duration::MAX);
        assert_eq!(delay(&step, &absurd, 1, TaskNumber(1)), LONGEST_BACKOFF);
    }
}
