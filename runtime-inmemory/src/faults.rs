//! The faults that a broker injects, and how often.

use std::time::Duration;

/// The faults that an [`InMemoryBroker`](crate::InMemoryBroker) injects, and how often.
///
/// A broker on a network delivers messages twice, late and out of order, and loses connections. A
/// program that produces the right result with [`seeded`](Self::seeded) for a few hundred seeds can
/// cope with that. Rates are probabilities per message, from 0 to 1.
///
/// The same seed makes the same decisions for the same sequence of messages. The sequence itself
/// still depends on the threads of the program.
///
/// ```
/// use std::sync::Arc;
///
/// use phalanx::{
///     inmemory::{Faults, InMemoryBroker},
///     prelude::*,
/// };
///
/// #[operation]
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), phalanx::Error> {
/// let broker = InMemoryBroker::with_faults(Faults::seeded(7).duplicate(0.5));
/// broker.start_workers(4);
/// let runtime = Runtime::builder().lead(Arc::new(broker)).await?;
/// let squares = IndexedStream::from(0..100u64).map(Square).collect(&runtime).await?;
/// assert_eq!(squares, (0..100).map(square).collect::<Vec<_>>());
/// # runtime.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Faults {
    /// The seed of all decisions.
    pub seed: u64,
    /// The rate of messages that are delivered twice.
    pub duplicate: f64,
    /// The rate of messages that are inserted at a random place of their queue.
    pub reorder: f64,
    /// The rate of messages that are delayed.
    pub delay: f64,
    /// The longest delay; each is drawn uniformly up to it. Default: 5 ms.
    pub longest_delay: Duration,
    /// The rate of messages at which the publishing or the consuming connection breaks: its
    /// consumers are interrupted, their unsettled messages are delivered again, and whether the
    /// broker has the publisher's message is unknown.
    ///
    /// Each break requeues everything that the connection holds. At a rate above 0.01 almost
    /// nothing is ever settled, and jobs fail.
    pub disconnect: f64,
    /// The rate of messages that are confirmed and lost.
    ///
    /// A healthy broker never does that. A lost message stalls its job until the leader detects the
    /// loss, which takes about a minute.
    pub lose: f64,
}

impl Faults {
    /// No faults; add some with the methods below.
    ///
    /// ```
    /// # use phalanx::inmemory::Faults;
    /// let faults = Faults::none(7);
    /// assert!(faults.duplicate == 0.0 && faults.lose == 0.0);
    /// ```
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

    /// All faults that a healthy broker shows on a network: 10 % of the messages are duplicated, 20
    /// % reordered, 10 % delayed by up to 5 ms, and 0.2 % break a connection. None is lost.
    ///
    /// ```
    /// # use phalanx::inmemory::Faults;
    /// let faults = Faults::seeded(7);
    /// assert!(faults.duplicate == 0.1 && faults.lose == 0.0);
    /// ```
    pub fn seeded(seed: u64) -> Self {
        Self { duplicate: 0.1, reorder: 0.2, delay: 0.1, disconnect: 0.002, ..Self::none(seed) }
    }

    /// Sets the rate of messages that are delivered twice.
    ///
    /// ```
    /// # use phalanx::inmemory::Faults;
    /// let faults = Faults::none(7).duplicate(0.5);
    /// assert!(faults.duplicate == 0.5);
    /// ```
    #[must_use]
    pub fn duplicate(self, rate: f64) -> Self {
        Self { duplicate: rate, ..self }
    }

    /// Sets the rate of messages that are inserted at a random place of their queue.
    ///
    /// ```
    /// # use phalanx::inmemory::Faults;
    /// let faults = Faults::none(7).reorder(0.5);
    /// assert!(faults.reorder == 0.5);
    /// ```
    #[must_use]
    pub fn reorder(self, rate: f64) -> Self {
        Self { reorder: rate, ..self }
    }

    /// Sets the rate of messages that are delayed, and the longest delay.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use phalanx::inmemory::Faults;
    /// let faults = Faults::none(7).delay(0.5, Duration::from_millis(20));
    /// assert!(faults.delay == 0.5 && faults.longest_delay == Duration::from_millis(20));
    /// ```
    #[must_use]
    pub fn delay(self, rate: f64, longest: Duration) -> Self {
        Self { delay: rate, longest_delay: longest, ..self }
    }

    /// Sets the rate of messages at which a connection breaks.
    ///
    /// ```
    /// # use phalanx::inmemory::Faults;
    /// let faults = Faults::none(7).disconnect(0.001);
    /// assert!(faults.disconnect == 0.001);
    /// ```
    #[must_use]
    pub fn disconnect(self, rate: f64) -> Self {
        Self { disconnect: rate, ..self }
    }

    /// Sets the rate of messages that are confirmed and lost.
    ///
    /// ```
    /// # use phalanx::inmemory::Faults;
    /// let faults = Faults::none(7).lose(0.01);
    /// assert!(faults.lose == 0.01);
    /// ```
    #[must_use]
    pub fn lose(self, rate: f64) -> Self {
        Self { lose: rate, ..self }
    }
}
