//! Programs with one value as their result.

use std::{fmt, time::Duration};

use super::{Collector, End, PlanError, Program, collector::One, directive::Directive};
use crate::operation::Data;

/// A program whose result is one value of type `V`.
///
/// Made by [`count`](super::IndexedStream::count), [`first`](super::IndexedStream::first),
/// [`top`](super::IndexedStream::top), [`top_by_key`](super::IndexedStream::top_by_key) and
/// [`for_each`](super::IndexedStream::for_each). Nothing runs before [`run`](Self::run) or
/// [`start`](Self::start).
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation]
/// fn is_even(n: &u64) -> bool {
///     n % 2 == 0
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// use phalanx::ValueProgram;
///
/// let program: ValueProgram<u64> = IndexedStream::from(0..100).filter(IsEven).count();
/// assert_eq!(program.run(&runtime).await?, 50);
/// # Ok(())
/// # }
/// ```
#[must_use = "a program does nothing until it is run"]
pub struct ValueProgram<V> {
    pub(crate) program: Program,
    pub(crate) collector: Box<dyn Collector<V>>,
}

impl<V> ValueProgram<V> {
    pub(super) fn new(program: Program, collector: impl Collector<V> + 'static) -> Self {
        Self { program, collector: Box::new(collector) }
    }

    /// Describes the plan in text, like [`IndexedStream::explain`](super::IndexedStream::explain).
    ///
    /// # Errors
    /// If the program has a mistake.
    ///
    /// ```
    /// use phalanx::prelude::*;
    ///
    /// let program = IndexedStream::from(1..=10u64).count();
    /// assert!(program.explain()?.contains("the number of elements"));
    /// # Ok::<(), phalanx::Error>(())
    /// ```
    pub fn explain(&self) -> Result<String, PlanError> {
        self.program.explain()
    }
}

impl<V: Data> ValueProgram<V> {
    /// The first output of a program that has at least one.
    pub(crate) fn first_output(program: Program) -> Self {
        Self::new(program, One::<V>::first())
    }
}

impl<V> fmt::Debug for ValueProgram<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValueProgram").field(&self.program).finish()
    }
}

/// A program whose result is a fold: one value of type `V`.
///
/// Made by [`fold`](super::IndexedStream::fold) and [`reduce`](super::IndexedStream::reduce).
/// Nothing runs before [`run`](Self::run) or [`start`](Self::start).
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation]
/// fn add(a: f64, b: f64) -> f64 {
///     a + b
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// use phalanx::FoldProgram;
///
/// let program: FoldProgram<Option<f64>> = IndexedStream::from([0.5, 0.25]).reduce(Add);
/// assert_eq!(program.run(&runtime).await?, Some(0.75));
/// # Ok(())
/// # }
/// ```
#[must_use = "a program does nothing until it is run"]
#[derive(Debug)]
pub struct FoldProgram<V>(pub(crate) ValueProgram<V>);

impl<V> FoldProgram<V> {
    /// Combines by a tree whose shape depends only on the length of the input, so that even
    /// floating-point sums have the same bits in each run.
    ///
    /// Elements are folded in groups of 1,024, so batches adapt less to how long elements take.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn add(a: f64, b: f64) -> f64 {
    ///     a + b
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let numbers = || IndexedStream::from((0..5000).map(|n| f64::from(n) * 0.1));
    /// let first = numbers().reduce(Add).deterministic().run(&runtime).await?;
    /// let second = numbers().reduce(Add).deterministic().run(&runtime).await?;
    /// assert_eq!(first, second);
    /// # Ok(())
    /// # }
    /// ```
    pub fn deterministic(mut self) -> Self {
        if let End::Fold { deterministic, .. } = self.0.program.end_mut() {
            *deterministic = true;
        }
        self
    }

    /// The pool of workers that folds; like [`IndexedStream::pool`](super::IndexedStream::pool).
    ///
    /// With the pool of the step before it, both run in one pass.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn sum_up(a: u64, b: u64) -> u64 {
    ///     a + b
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// use std::time::Duration;
    ///
    /// let sum = IndexedStream::from(1..=100).reduce(SumUp).pool("light").retries(5);
    /// assert!(sum.explain()?.contains("pool `light`"));
    /// assert_eq!(sum.timeout(Duration::from_secs(60)).run(&runtime).await?, Some(5050));
    /// # Ok(())
    /// # }
    /// ```
    pub fn pool(self, name: &str) -> Self {
        self.set("pool", |directive| directive.set_pool(name))
    }

    /// How often an element, or a combination, is retried in the fold; like
    /// [`IndexedStream::retries`](super::IndexedStream::retries).
    pub fn retries(self, retries: u32) -> Self {
        self.set("retries", |directive| {
            directive.step.retries = retries;
            Ok(())
        })
    }

    /// How long an element, or a combination, waits before it is retried in the fold; like
    /// [`IndexedStream::backoff`](super::IndexedStream::backoff).
    pub fn backoff(self, from: Duration, to: Duration) -> Self {
        self.set("backoff", |directive| directive.set_backoff(from, to))
    }

    /// How long the fold may take for one element, or for a partial result that is combined; like
    /// [`IndexedStream::timeout`](super::IndexedStream::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set("timeout", |directive| {
            directive.set_timeout(timeout);
            Ok(())
        })
    }

    fn set(
        mut self,
        setting: &'static str,
        change: impl Fn(&mut Directive) -> Result<(), PlanError>,
    ) -> Self {
        self.0.program.set(setting, change);
        self
    }

    /// Describes the plan in text, like [`IndexedStream::explain`](super::IndexedStream::explain).
    ///
    /// # Errors
    /// If the program has a mistake.
    ///
    /// ```
    /// use phalanx::prelude::*;
    ///
    /// #[operation]
    /// fn total(a: u64, b: u64) -> u64 {
    ///     a + b
    /// }
    ///
    /// let program = IndexedStream::from(1..=10u64).reduce(Total);
    /// assert!(program.explain()?.contains("reduce"));
    /// # Ok::<(), phalanx::Error>(())
    /// ```
    pub fn explain(&self) -> Result<String, PlanError> {
        self.0.explain()
    }
}
