//! The delays between attempts to connect or to consume again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// An endless series of delays that doubles from 100 ms to 1 s; jitter adds up to the same again.
pub(crate) fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(1))
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_within_their_bounds() {
        let delays: Vec<Duration> = backoff().take(100).collect();
        assert_eq!(delays.len(), 100);
        assert!(delays[0] < Duration::from_millis(201), "{:?}", delays[0]);
        assert!(delays.iter().all(|d| (100..=2_000).contains(&d.as_millis())), "{delays:?}");
    }
}
