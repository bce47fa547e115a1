//! What an element may cost: budgets by cause, and how long to wait before the next try.

use std::time::Duration;

use crate::{
    id::TaskNumber,
    operation::{ErrorKind, OperationError},
    plan::StepPlan,
};

/// Crashes of one element alone that are forgiven.
const CRASH_BUDGET: u32 = 1;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// What an operation may ask for; it comes from outside.
const LONGEST_REQUEST: Duration = Duration::from_secs(24 * 3600);

/// Whether an element that failed on its `tries`-th try gets another one.
pub(crate) fn is_worth_a_retry(step: &StepPlan, error: &OperationError, tries: u32) -> bool {
    let budget = match error.kind() {
        ErrorKind::Transient | ErrorKind::Timeout => step.retries,
        ErrorKind::Crash => CRASH_BUDGET,
        ErrorKind::Fatal | ErrorKind::Panic | ErrorKind::Codec | ErrorKind::TooLarge => 0,
    };
    tries <= budget
}

/// How long to wait before the try that follows the `tries`-th: doubling, within half and whole
/// by a jitter that depends on the task alone.
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
    fn delays_double_up_to_a_limit() {
        let at = |tries| delay(None, tries, TaskNumber(1));
        assert!(at(1) <= FIRST_DELAY && at(1) >= FIRST_DELAY / 2);
        assert!(at(3) >= FIRST_DELAY * 2 && at(3) <= FIRST_DELAY * 4);
        assert!(at(60) <= LONGEST_DELAY);
    }

    #[test]
    fn a_requested_delay_is_kept() {
        let error = OperationError::fatal("busy").with_retry_delay(Duration::from_secs(7));
        assert_eq!(delay(Some(&error), 1, TaskNumber(1)), Duration::from_secs(7));
        let absurd = OperationError::fatal("busy").with_retry_delay(Duration::MAX);
        assert_eq!(delay(Some(&absurd), 1, TaskNumber(1)), LONGEST_REQUEST);
    }
}
