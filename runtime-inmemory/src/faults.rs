//! What a broker does wrong, now and then, from a seed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// What a [`InMemoryBroker`](crate::InMemoryBroker) does wrong, and how often.
///
/// A broker on a network delivers twice, late and in any order, and its connections break. A
/// program that runs right under [`seeded`](Self::seeded) for a few hundred seeds is ready for
/// that. Rates are probabilities for each message, from 0 to 1.
///
/// The same seed takes the same decisions for the same sequence of messages. Which message comes
/// when is still up to the threads of the program.
///
/// ```
/// use std::sync::Arc;
///
/// use phalanx_core::leader::Runtime;
/// use phalanx_inmemory::{InMemoryBroker, Faults};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), phalanx_core::Error> {
/// let broker = InMemoryBroker::with_misbehaviour(Faults::seeded(7).duplicate(0.5));
/// broker.start_workers(4);
/// let runtime = Runtime::builder().lead(Arc::new(broker)).await?;
/// // … run a program, and compare its result with what must come out …
/// # runtime.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Faults {
    /// Where chance comes from.
    pub seed: u64,
    /// Delivers a message twice.
    pub duplicate: f64,
    /// Puts a message anywhere in its queue.
    pub reorder: f64,
    /// Holds a message back.
    pub delay: f64,
    /// The longest time for which a message is held back. Default: 5 ms.
    pub longest_delay: Duration,
    /// Breaks the connection that publishes or consumes: its consumers are interrupted, what they
    /// had not settled is delivered again, and a publisher does not hear whether the message was
    /// taken.
    ///
    /// Counts for each message, and takes back all that a connection holds: at more than one in a
    /// hundred hardly anything is settled any more, and jobs give up.
    pub disconnect: f64,
    /// Takes responsibility for a message and loses it.
    ///
    /// No broker that is well does so: a lost message stalls its job until it is found to be lost.
    pub lose: f64,
}

impl Faults {
    /// Does nothing wrong until it is told what.
    pub fn none(seed: u64) -> Self {
        Self {
            seed,
            duplicate: 0.0,
            reorder: 0.0,
            delay: 0.0,
            longest_delay: Duration::from_millis(5),
            disconnect: 0.0,
            lose: 0.0,
        }
    }

    /// Everything that a broker which is well may do: duplicates, disorder, delays and broken
    /// connections, no loss.
    pub fn seeded(seed: u64) -> Self {
        Self { duplicate: 0.1, reorder: 0.2, delay: 0.1, disconnect: 0.002, ..Self::none(seed) }
    }

    /// The same, with this rate of messages that are delivered twice.
    #[must_use]
    pub fn duplicate(self, rate: f64) -> Self {
        Self { duplicate: rate, ..self }
    }

    /// The same, with this rate of messages that land anywhere in their queue.
    #[must_use]
    pub fn reorder(self, rate: f64) -> Self {
        Self { reorder: rate, ..self }
    }

    /// The same, with this rate of messages that are held back, each for `longest` at most.
    #[must_use]
    pub fn delay(self, rate: f64, longest: Duration) -> Self {
        Self { delay: rate, longest_delay: longest, ..self }
    }

    /// The same, with this rate of messages that break a connection.
    #[must_use]
    pub fn disconnect(self, rate: f64) -> Self {
        Self { disconnect: rate, ..self }
    }

    /// The same, with this rate of messages that are lost.
    #[must_use]
    pub fn lose(self, rate: f64) -> Self {
        Self { lose: rate, ..self }
    }
}

/// What becomes of one published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    /// How many of it are queued.
    pub(crate) copies: u8,
    /// Where each copy goes; `None` is behind the others.
    pub(crate) place: Option<u64>,
    /// How long it is held back.
    pub(crate) delay: Option<Duration>,
    /// Whether the connection breaks before the publisher hears of it.
    pub(crate) disconnect: bool,
}

/// Decides what goes wrong.
#[derive(Debug)]
pub(crate) struct Chance {
    faults: Faults,
    drawn: AtomicU64,
}

impl Chance {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { drawn: AtomicU64::new(faults.seed), faults }
    }

    /// What becomes of the next message.
    pub(crate) fn fate(&self) -> Fate {
        let rates = &self.faults;
        let disconnect = self.happens(rates.disconnect);
        let lost = self.happens(rates.lose) || (disconnect && self.happens(0.5));
        Fate {
            copies: match lost {
                true => 0,
                false => 1 + u8::from(self.happens(rates.duplicate)),
            },
            place: self.happens(rates.reorder).then(|| self.draw()),
            delay: self.happens(rates.delay).then(|| rates.longest_delay.mul_f64(self.unit())),
            disconnect,
        }
    }

    /// Whether the connection breaks under the next delivery.
    pub(crate) fn disconnects(&self) -> bool {
        self.happens(self.faults.disconnect)
    }

    fn happens(&self, rate: f64) -> bool {
        rate > 0.0 && self.unit() < rate
    }

    /// From 0 to 1, without 1.
    fn unit(&self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// SplitMix64: each draw is one step of a counter, so that threads share it without a lock.
    fn draw(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.drawn.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(seed: u64) -> Vec<Fate> {
        let chance = Chance::new(Faults::seeded(seed));
        (0..1_000).map(|_| chance.fate()).collect()
    }

    #[test]
    fn a_seed_decides_what_goes_wrong() {
        assert_eq!(fates(1), fates(1));
        assert_ne!(fates(1), fates(2));
    }

    #[test]
    fn things_go_wrong_about_as_often_as_asked_for() {
        let fates = fates(3);
        let doubled = fates.iter().filter(|fate| fate.copies == 2).count();
        let moved = fates.iter().filter(|fate| fate.place.is_some()).count();
        let late = fates.iter().filter(|fate| fate.delay.is_some()).count();
        assert!((60..140).contains(&doubled), "{doubled}");
        assert!((150..250).contains(&moved), "{moved}");
        assert!((60..140).contains(&late), "{late}");
        assert!(fates.iter().all(|fate| fate.copies > 0 || fate.disconnect));
    }

    #[test]
    fn nothing_goes_wrong_until_asked_for() {
        let good = Fate { copies: 1, place: None, delay: None, disconnect: false };
        let chance = Chance::new(Faults::none(4));
        assert!((0..1_000).all(|_| chance.fate() == good && !chance.disconnects()));
    }
}
