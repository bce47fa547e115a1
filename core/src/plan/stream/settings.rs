//! The settings of a program and of its steps.

use std::time::Duration;

use super::IndexedStream;
use crate::{
    operation::Data,
    plan::{OnFailure, PlanError},
};

impl<T: Data> IndexedStream<T> {
    /// Keeps `count` elements.
    ///
    /// Directly after the source, these are the first elements of the source. After other
    /// directives, they are the outputs that are completed first, or the first in input order if
    /// the program is [`ordered`](Self::ordered) or collected. Then only `map` and `try_map` can
    /// follow.
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
    /// let of_the_first_five = IndexedStream::from(1..).take(5).filter(IsEven);
    /// assert_eq!(of_the_first_five.collect(&runtime).await?, [2, 4]);
    ///
    /// let five = IndexedStream::from(1..).filter(IsEven).take(5);
    /// assert_eq!(five.collect(&runtime).await?, [2, 4, 6, 8, 10]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn take(mut self, count: u64) -> Self {
        self.program.take(count);
        self
    }
}

/// Settings.
impl<T: Data> IndexedStream<T> {
    /// What happens to the job when an element fails permanently in the previous step.
    /// Default: [`OnFailure::FailJob`].
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn parse(text: &str) -> Result<u32> {
    ///     Ok(text.parse()?)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let texts = ["1", "two", "3"].map(String::from);
    /// let numbers = IndexedStream::from(texts).map(Parse).on_failure(OnFailure::Skip);
    /// assert_eq!(numbers.collect(&runtime).await?, [1, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.program.set_on_failure(on_failure);
        self
    }

    /// How often an element is retried in the previous step after transient errors and timeouts;
    /// 0 is never. Default: the operation's `#[remote(retries = …)]`, otherwise 3.
    ///
    /// Retries wait: first about 0.1 s, then twice as long each time, at most 30 s, which
    /// [`backoff`](Self::backoff) changes; or as long as
    /// [`OperationError::with_retry_delay`](crate::operation::OperationError::with_retry_delay) asks for.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn fetch(id: u64, cx: &TaskContext) -> Result<u64> {
    ///     match cx.tries() {
    ///         1 => Err(OperationError::fatal("the server is busy").transient()),
    ///         _ => Ok(id),
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let ids = || IndexedStream::from([7, 8]).map(Fetch);
    /// assert_eq!(ids().retries(1).collect(&runtime).await?, [7, 8]);
    /// assert!(ids().retries(0).collect(&runtime).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn retries(self, retries: u32) -> Self {
        self.set("retries", |directive| {
            directive.step.retries = retries;
            Ok(())
        })
    }

    /// How long an element waits before it is retried in the previous step: first `from`, then twice
    /// as long each time, at most `to`. Default: the operation's `#[remote(backoff = "…")]`,
    /// otherwise 100 ms to 30 s.
    ///
    /// Each back-off is shortened by a jitter of up to half, so that elements that failed together
    /// are not retried together. With `from` zero they are retried at once. At most one day. An
    /// error [`with_retry_delay`](crate::operation::OperationError::with_retry_delay) overrides it.
    ///
    /// If `from` is longer than `to`, the end of the program returns [`PlanError::Backoff`].
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// use std::time::Duration;
    ///
    /// #[operation(retries = 8, backoff = "1s..5m")]
    /// fn fetch(id: u64, cx: &TaskContext) -> Result<u64> {
    ///     match cx.tries() {
    ///         1 | 2 => Err(OperationError::fatal("the server is busy").transient()),
    ///         _ => Ok(id),
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let ids = || IndexedStream::from([7, 8]).map(Fetch);
    /// assert!(ids().explain()?.contains("retries 8, back-off 1s to 300s"));
    ///
    /// let (from, to) = (Duration::from_millis(1), Duration::from_millis(20));
    /// assert_eq!(ids().backoff(from, to).collect(&runtime).await?, [7, 8]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn backoff(self, from: Duration, to: Duration) -> Self {
        self.set("backoff", |directive| directive.set_backoff(from, to))
    }

    /// How long the previous step may run on one element. Default: the operation's
    /// `#[remote(timeout = …)]`, otherwise no limit.
    ///
    /// An asynchronous operation is dropped at its next `await`; a blocking one is abandoned with
    /// its thread, unless it checks
    /// [`TaskContext::is_cancelled`](crate::operation::TaskContext::is_cancelled).
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// async fn wait(seconds: u64) -> u64 {
    ///     tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    ///     seconds
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// use phalanx::operation::ErrorKind;
    /// use std::time::Duration;
    ///
    /// let program = IndexedStream::from([0, 60])
    ///     .try_map(Wait)
    ///     .timeout(Duration::from_millis(50))
    ///     .retries(0);
    /// let waited = program.collect(&runtime).await?;
    /// assert_eq!(waited[0], Ok(0));
    /// assert_eq!(waited[1].as_ref().unwrap_err().error.kind(), ErrorKind::Timeout);
    /// # Ok(())
    /// # }
    /// ```
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set("timeout", |directive| {
            directive.set_timeout(timeout);
            Ok(())
        })
    }

    /// The pool of workers that runs the previous step. Default: the operation's
    /// `#[remote(pool = …)]`, otherwise `default`.
    ///
    /// The name has 1 to 64 characters of `a-z`, `0-9`, `-`, `_` and `.`. The workers of
    /// `memory://` serve every pool.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[operation]
    /// # fn double(n: u64) -> u64 {
    /// #     n * 2
    /// # }
    /// #
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let program = IndexedStream::from([1, 2, 3]).map(Double).pool("gpu");
    /// assert!(program.explain()?.contains("pool `gpu`"));
    /// assert_eq!(program.collect(&runtime).await?, [2, 4, 6]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn pool(self, name: &str) -> Self {
        self.set("pool", |directive| directive.set_pool(name))
    }

    /// Puts exactly `elements` elements (at least 1) into each task of the stage of the previous step,
    /// or of the first stage directly after the source; the last task can have fewer. Default: the
    /// leader measures how long elements take, and sizes batches accordingly.
    ///
    /// A stage is what runs in one pass: [`explain`](Self::explain) shows it. Of several sizes for one
    /// stage, the last one holds.
    ///
    /// A worker still returns the elements of a batch that it cannot finish in time.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[operation]
    /// # fn double(n: u64) -> u64 {
    /// #     n * 2
    /// # }
    /// #
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// // One element takes minutes, so each gets its own task.
    /// let program = IndexedStream::from([1, 2, 3]).map(Double).batch(1);
    /// assert!(program.explain()?.contains("tasks of 1 element"));
    /// assert_eq!(program.collect(&runtime).await?, [2, 4, 6]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "chunks")]
    #[doc(alias = "chunk_size")]
    pub fn batch(mut self, elements: u32) -> Self {
        self.program.set_batch(elements);
        self
    }

    /// Delivers the results in input order. Default: as they are completed.
    ///
    /// Results wait in the leader's memory until all of their predecessors have arrived.
    /// [`collect`](Self::collect) is always ordered.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[operation]
    /// # fn double(n: u64) -> u64 {
    /// #     n * 2
    /// # }
    /// #
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let program = IndexedStream::from([1, 2]).map(Double).ordered();
    /// let mut results = program.run(&runtime).await?;
    /// assert_eq!(results.next().await.transpose()?, Some((0, 2)));
    /// assert_eq!(results.next().await.transpose()?, Some((1, 4)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn ordered(mut self) -> Self {
        self.program.set_ordered();
        self
    }

    /// Describes the plan in text: its stages, the steps that run together, and their pools.
    ///
    /// # Errors
    /// If the program has a mistake.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation(name = "double")]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// # fn main() -> Result<(), phalanx::PlanError> {
    /// let program = IndexedStream::from([1, 2, 3]).map(Double).map(Double);
    /// assert_eq!(
    ///     program.explain()?,
    ///     "\
    /// source   3 elements
    /// stage 0  pool `default`, 2 steps fused into one pass, tasks of adaptive size
    ///            map      double
    ///            map      double
    /// end      a stream, as completed
    /// "
    /// );
    /// # Ok(())
    /// # }
    /// ```
    pub fn explain(&self) -> Result<String, PlanError> {
        self.program.explain()
    }
}

/// Ends with one value.
impl<T: Data> IndexedStream<T> {}
