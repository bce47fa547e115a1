//! The retry budget of an element by the cause of its failure, and the back-off before the next
//! try.

use std::time::Duration;

use crate::{
    id::TaskNumber,
    operation::{ErrorKind, OperationError},
    plan::StepPlan,
};

/// How often an element that crashed its process, alone in its task, is retried.
const CRASH_BUDGET: u32 = 1;

/// The back-off after the first try; it doubles with each further one.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// The longest back-off that an operation may ask for.
const LONGEST_REQUEST: Duration = Duration::from_secs(24 * 3600);

/// Whether the budget of an element that failed on its `tries`-th try allows another one.
pub(crate) fn is_worth_a_retry(step: &StepPlan, error: &OperationError, tries: u32) -> bool {
    let budget = match error.kind() {
        ErrorKind::Transient | ErrorKind::Timeout => step.retries,
        ErrorKind::Crash => CRASH_BUDGET,
        ErrorKind::Fatal | ErrorKind::Panic | ErrorKind::Codec | ErrorKind::TooLarge => 0,
    };
    tries <= budget
}

/// The back-off after the `tries`-th try: the delay that the operation asked for, or else one that
/// doubles with each try, times a jitter from 0.5 to 1 that depends on the task number alone.
pub(crate) fn delay(error: Option<&OperationError>, tries: u32, task: TaskNumber) -> Duration {
    if let Some(requested) = error.and_then(OperationError::retry_delay) {
        return requested.min(LONGEST_REQUEST);
    }
    let doubled = FIRST_DELAY.saturating_mul(1 << tries.saturating_sub(1).min(16));
    let jitter = xxhash_rust::xxh3::xxh3_64(&task.0.to_le_bytes()) as f64 / u64::MAX as f64;
    doubled.min(LONGEST_DELAY).mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_offs_double_up_to_a_limit() {
        let at = |tries| delay(None, tries, TaskNumber(1));
        assert!(at(1) <= FIRST_DELAY && at(1) >= FIRST_DELAY / 2);
        assert!(at(3) >= FIRST_DELAY * 2 && at(3) <= FIRST_DELAY * 4);
        assert!(at(60) <= LONGEST_DELAY);
    }

    #[test]
    fn a_delay_that_an_operation_asks_for_is_kept_up_to_a_limit() {
        let error = OperationError::fatal("busy").with_retry_delay(Duration::from_secs(7));
        assert_eq!(delay(Some(&error), 1, TaskNumber(1)), Duration::from_secs(7));
        let absurd = OperationError::fatal("busy").with_retry_delay(Duration::MAX);
        assert_eq!(delay(Some(&absurd), 1, TaskNumber(1)), LONGEST_REQUEST);
    }
}
