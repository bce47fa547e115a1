//! Decides at random which faults each message suffers.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::Faults;

/// The faults of one published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublishFaults {
    /// How many copies are queued: 0 if it is lost, 2 if it is duplicated.
    pub(crate) copies: u8,
    /// Any number: it selects the position in the queue. `None` appends.
    pub(crate) position: Option<u64>,
    /// How long each copy is delayed before it is queued.
    pub(crate) delay: Option<Duration>,
    /// Whether the connection breaks before the message is confirmed.
    pub(crate) disconnect: bool,
}

/// Draws the faults of each message from a seeded sequence.
#[derive(Debug)]
pub(crate) struct FaultInjector {
    faults: Faults,
    state: AtomicU64,
}

impl FaultInjector {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { state: AtomicU64::new(faults.seed), faults }
    }

    /// The faults of the next published message.
    pub(crate) fn next_publish(&self) -> PublishFaults {
        let rates = &self.faults;
        let disconnect = self.happens(rates.disconnect);
        let lost = self.happens(rates.lose) || (disconnect && self.happens(0.5));
        PublishFaults {
            copies: match lost {
                true => 0,
                false => 1 + u8::from(self.happens(rates.duplicate)),
            },
            position: self.happens(rates.reorder).then(|| self.draw()),
            delay: self.happens(rates.delay).then(|| rates.longest_delay.mul_f64(self.unit())),
            disconnect,
        }
    }

    /// Whether the consuming connection breaks at the next delivery.
    pub(crate) fn disconnects_consumer(&self) -> bool {
        self.happens(self.faults.disconnect)
    }

    /// `true` with probability `rate`. A rate of 0 draws no number, so that it does not change the
    /// decisions of the other rates.
    fn happens(&self, rate: f64) -> bool {
        rate > 0.0 && self.unit() < rate
    }

    /// Uniform in `0.0..1.0`.
    fn unit(&self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The next number of SplitMix64, whose state is a counter: threads share it without a lock.
    /// Relaxed: each draw needs a distinct number, and orders nothing else.
    fn draw(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw_thousand(seed: u64) -> Vec<PublishFaults> {
        let injector = FaultInjector::new(Faults::seeded(seed));
        (0..1_000).map(|_| injector.next_publish()).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_faults() {
        assert_eq!(draw_thousand(1), draw_thousand(1));
        assert_ne!(draw_thousand(1), draw_thousand(2));
    }

    #[test]
    fn faults_occur_at_about_their_rates() {
        let drawn = draw_thousand(3);
        let duplicated = drawn.iter().filter(|faults| faults.copies == 2).count();
        let reordered = drawn.iter().filter(|faults| faults.position.is_some()).count();
        let delayed = drawn.iter().filter(|faults| faults.delay.is_some()).count();
        assert!((60..140).contains(&duplicated), "{duplicated}");
        assert!((150..250).contains(&reordered), "{reordered}");
        assert!((60..140).contains(&delayed), "{delayed}");
        assert!(drawn.iter().all(|faults| faults.copies > 0 || faults.disconnect));
    }

    #[test]
    fn rates_of_zero_cause_no_faults() {
        let none = PublishFaults { copies: 1, position: None, delay: None, disconnect: false };
        let injector = FaultInjector::new(Faults::none(4));
        assert!(
            (0..1_000).all(|_| injector.next_publish() == none && !injector.disconnects_consumer())
        );
    }
}
