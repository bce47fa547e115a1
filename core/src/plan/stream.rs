//! The program that a user composes.

use std::{error::Error as StdError, fmt, marker::PhantomData, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::{
    End, FoldProgram, OnFailure, PlanError, Program, Source, ValueProgram, directive::Directive,
};
use crate::{
    codec,
    operation::{Data, Failure, Monoid, Step},
    registry::Verb,
};

/// A program over elements of type `T`: a source, and the directives that follow it.
///
/// - **Sources**: [`IndexedStream::from`] for anything that iterates,
///   [`try_from_iter`](Self::try_from_iter), [`from_stream`](Self::from_stream) and
///   [`try_from_stream`](Self::try_from_stream). Elements are numbered from 0 in the order of the
///   source; results, errors and events carry this index.
/// - **Directives**: [`map`](Self::map), [`try_map`](Self::try_map), [`filter`](Self::filter),
///   [`flat_map`](Self::flat_map), [`take`](Self::take).
/// - **Settings** of the previous step: [`retries`](Self::retries), [`backoff`](Self::backoff),
///   [`timeout`](Self::timeout), [`pool`](Self::pool), [`on_failure`](Self::on_failure); of its
///   stage: [`batch`](Self::batch); of the program: [`ordered`](Self::ordered).
/// - **Ends**: [`run`](Self::run), [`start`](Self::start) and [`collect`](Self::collect) for all
///   outputs; [`fold`](Self::fold), [`reduce`](Self::reduce), [`count`](Self::count),
///   [`first`](Self::first) and [`for_each`](Self::for_each) for one value.
///
/// Nothing runs before the end. Mistakes, such as an operation that is not registered, are kept and
/// returned by the end as [`Error::Plan`](crate::Error::Plan), so the methods of a chain need no
/// `?`.
///
/// Adjacent steps of one pool run together in one pass over a batch of elements, without going back
/// to the leader; [`explain`](Self::explain) shows which ones.
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation]
/// fn words(line: &str) -> Vec<String> {
///     line.split_whitespace().map(str::to_lowercase).collect()
/// }
///
/// #[operation]
/// fn is_long(word: &String) -> bool {
///     word.len() > 3
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let lines = ["The quick brown fox", "jumps over the lazy dog"].map(String::from);
/// let long_words = IndexedStream::from(lines).flat_map(Words).filter(IsLong);
/// assert_eq!(long_words.count().run(&runtime).await?, 5);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "parallelize")]
#[doc(alias = "Literal")]
#[must_use = "a program does nothing until it is run"]
pub struct IndexedStream<T> {
    pub(crate) program: Program,
    element: PhantomData<fn() -> T>,
}

/// The elements of an iterator, which is pulled lazily, on a thread that may block.
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation]
/// fn double(n: u64) -> u64 {
///     n * 2
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// // An endless iterator is fine: `take` ends it.
/// let doubled = IndexedStream::from(10..).take(3).map(Double).collect(&runtime).await?;
/// assert_eq!(doubled, [20, 22, 24]);
/// # Ok(())
/// # }
/// ```
impl<I> From<I> for IndexedStream<I::Item>
where
    I: IntoIterator,
    I::IntoIter: Send + 'static,
    I::Item: Data,
{
    fn from(elements: I) -> Self {
        Self::new(Source::from_elements(elements.into_iter()))
    }
}

impl<T: Data> IndexedStream<T> {
    /// The elements of an iterator that can fail: the first `Err` fails the job with
    /// [`Error::Input`](crate::Error::Input).
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
    /// let numbers = ["1", "2", "x"].map(|text| text.parse::<u64>());
    /// let doubled = IndexedStream::try_from_iter(numbers).map(Double);
    /// let error = doubled.collect(&runtime).await.unwrap_err();
    /// assert!(matches!(error, phalanx::Error::Input { index: 2, .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_from_iter<I, E>(elements: I) -> Self
    where
        I: IntoIterator<Item = Result<T, E>>,
        I::IntoIter: Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self::new(Source::from_iter(elements.into_iter().map(|item| item.map_err(Into::into))))
    }

    /// The elements of an asynchronous stream, which may be endless.
    ///
    /// The stream is polled in a separate Tokio task, as far ahead as the workers need it.
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
    /// use futures::stream;
    ///
    /// let numbers = stream::iter(1..4u64);
    /// let doubled = IndexedStream::from_stream(numbers).map(Double);
    /// assert_eq!(doubled.collect(&runtime).await?, [2, 4, 6]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_stream<S>(elements: S) -> Self
    where
        S: Stream<Item = T> + Send + 'static,
    {
        Self::new(Source::from_stream(elements.map(Ok)))
    }

    /// The elements of an asynchronous stream that can fail: the first `Err` fails the job with
    /// [`Error::Input`](crate::Error::Input).
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
    /// use futures::stream;
    ///
    /// let lines = stream::iter([Ok(1), Err("the connection was closed")]);
    /// let doubled = IndexedStream::try_from_stream(lines).map(Double);
    /// let error = doubled.collect(&runtime).await.unwrap_err();
    /// assert!(matches!(error, phalanx::Error::Input { index: 1, .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_from_stream<S, E>(elements: S) -> Self
    where
        S: Stream<Item = Result<T, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self::new(Source::from_stream(elements.map(|item| item.map_err(Into::into))))
    }

    fn new(source: Source) -> Self {
        Self { program: Program::new(source), element: PhantomData }
    }
}

/// Directives.
impl<T: Data> IndexedStream<T> {
    /// Runs an operation on each element: one output for one input.
    ///
    /// The operation is blocking ([`Operation`](crate::Operation)) or asynchronous
    /// ([`AsyncOperation`](crate::AsyncOperation)).
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let doubled = IndexedStream::from([1, 2, 3]).map(Double).collect(&runtime).await?;
    /// assert_eq!(doubled, [2, 4, 6]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map<O, Mode>(self, operation: O) -> IndexedStream<O::Output>
    where
        O: Step<Mode, Input = T>,
    {
        self.step(&operation, Verb::Map)
    }

    /// Runs an operation on each element, like [`map`](Self::map), and turns permanent failures
    /// into values: errors, panics, timeouts and crashes become a [`Failure`], with the operation,
    /// the number of tries and the worker.
    ///
    /// Transient errors and timeouts are retried first. An element that fails permanently does not
    /// fail the job, and leaves no dead letter.
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
    /// let texts = ["7", "seven"].map(String::from);
    /// let parsed = IndexedStream::from(texts).try_map(Parse).collect(&runtime).await?;
    /// assert_eq!(parsed[0], Ok(7));
    /// assert_eq!(parsed[1].as_ref().unwrap_err().error.message(), "invalid digit found in string");
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_map<O, Mode>(self, operation: O) -> IndexedStream<Result<O::Output, Failure>>
    where
        O: Step<Mode, Input = T>,
    {
        self.step(&operation, Verb::TryMap)
    }

    /// Keeps the elements for which the operation returns `true`.
    ///
    /// An operation made by `#[operation]` from a function that takes a reference does not clone
    /// the element.
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
    /// let even = IndexedStream::from(0..10).filter(IsEven).collect(&runtime).await?;
    /// assert_eq!(even, [0, 2, 4, 6, 8]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn filter<O, Mode>(self, operation: O) -> Self
    where
        O: Step<Mode, Input = T, Output = bool>,
        T: Clone,
    {
        self.step(&operation, Verb::Filter)
    }

    /// Runs an operation on each element and continues with all items of its outputs, in order.
    ///
    /// Each item has the index of the source element that it was made from. An element that fails
    /// contributes no items.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn chars(word: &str) -> Vec<char> {
    ///     word.chars().collect()
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let words = ["to", "be"].map(String::from);
    /// let chars = IndexedStream::from(words).flat_map(Chars).collect(&runtime).await?;
    /// assert_eq!(chars, ['t', 'o', 'b', 'e']);
    /// # Ok(())
    /// # }
    /// ```
    pub fn flat_map<O, Mode>(self, operation: O) -> IndexedStream<<O::Output as IntoIterator>::Item>
    where
        O: Step<Mode, Input = T>,
        O::Output: IntoIterator,
        <O::Output as IntoIterator>::Item: Data,
    {
        self.step(&operation, Verb::FlatMap)
    }

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
impl<T: Data> IndexedStream<T> {
    /// Combines all elements in input order, by a [`Monoid`], in trees on the workers.
    ///
    /// The value of a program without elements is [`Monoid::empty`].
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[derive(Serialize, Deserialize, RemoteExecute)]
    /// struct Longest;
    ///
    /// impl Monoid for Longest {
    ///     type Elem = String;
    ///
    ///     fn empty(&self) -> String {
    ///         String::new()
    ///     }
    ///
    ///     fn combine(&self, a: String, b: String, _cx: &TaskContext) -> Result<String> {
    ///         Ok(if b.len() > a.len() { b } else { a })
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let words = ["as", "long", "as", "possible"].map(String::from);
    /// let longest = IndexedStream::from(words).fold(Longest).run(&runtime).await?;
    /// assert_eq!(longest, "possible");
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "reduce_by_key")]
    #[doc(alias = "aggregate")]
    pub fn fold<M: Monoid<Elem = T>>(mut self, monoid: M) -> FoldProgram<T> {
        self.program.step(&monoid, Verb::Fold);
        let empty = match codec::encode_checked(&monoid.empty()) {
            Ok(empty) => Bytes::from(empty),
            Err(error) => {
                self.program.note(PlanError::Empty {
                    operation: std::any::type_name::<M>().to_owned(),
                    reason: error.to_string(),
                });
                Bytes::new()
            }
        };
        self.program.end(End::Fold { empty: Some(empty), deterministic: false }, "fold");
        FoldProgram(ValueProgram::new(self.program, ValueProgram::the_value))
    }

    /// Combines all elements in input order, by an associative operation from `(T, T)` to `T`.
    ///
    /// The value of a program without elements is `None`. The operation need not be commutative.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn add(a: u64, b: u64) -> u64 {
    ///     a + b
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let sum = IndexedStream::from(1..=100).reduce(Add).run(&runtime).await?;
    /// assert_eq!(sum, Some(5050));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "reduce_by_key")]
    #[doc(alias = "chord")]
    pub fn reduce<O, Mode>(mut self, operation: O) -> FoldProgram<Option<T>>
    where
        O: Step<Mode, Input = (T, T), Output = T>,
    {
        self.program.step(&operation, Verb::Reduce);
        self.program.end(End::Fold { empty: None, deterministic: false }, "reduce");
        FoldProgram(ValueProgram::new(self.program, ValueProgram::perhaps_a_value))
    }

    /// Counts the elements, without sending them to the leader.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn is_square(n: &u64) -> bool {
    ///     n.isqrt().pow(2) == *n
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let squares = IndexedStream::from(1..=1000).filter(IsSquare);
    /// assert_eq!(squares.count().run(&runtime).await?, 31);
    /// # Ok(())
    /// # }
    /// ```
    pub fn count(mut self) -> ValueProgram<u64> {
        self.program.end(End::Count, "count");
        ValueProgram::new(self.program, ValueProgram::the_value)
    }

    /// The first element in input order; `None` if there are no elements.
    ///
    /// The job ends as soon as that element is known, even if the source is endless.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn is_square(n: &u64) -> bool {
    ///     n.isqrt().pow(2) == *n
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let first = IndexedStream::from(1000..).filter(IsSquare).first().run(&runtime).await?;
    /// assert_eq!(first, Some(1024));
    /// # Ok(())
    /// # }
    /// ```
    pub fn first(mut self) -> ValueProgram<Option<T>> {
        self.program.set_ordered();
        self.program.take(1);
        ValueProgram::new(self.program, ValueProgram::perhaps_the_first)
    }

    /// Runs an operation on each element for its side effects.
    ///
    /// An operation can run more than once on an element, after a failure of a worker or
    /// connection; [`TaskContext::element_key`](crate::operation::TaskContext::element_key)
    /// identifies such runs.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn store(id: u64, cx: &TaskContext) -> Result<()> {
    ///     let key = cx.element_key();
    ///     // … write `id` to a database, unless `key` is already stored.
    ///     # let _ = (id, key);
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// IndexedStream::from(1..=10).for_each(Store).run(&runtime).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn for_each<O, Mode>(self, operation: O) -> ValueProgram<()>
    where
        O: Step<Mode, Input = T, Output = ()>,
    {
        let mut program = self.map(operation).program;
        program.end(End::Count, "for_each");
        ValueProgram::new(program, ValueProgram::nothing)
    }
}

impl<T> IndexedStream<T> {
    fn step<O, U>(mut self, operation: &O, verb: Verb) -> IndexedStream<U>
    where
        O: crate::operation::RemoteExecute,
    {
        self.program.step(operation, verb);
        IndexedStream { program: self.program, element: PhantomData }
    }

    fn set(
        mut self,
        setting: &'static str,
        change: impl FnOnce(&mut Directive) -> Result<(), PlanError>,
    ) -> Self {
        self.program.set(setting, change);
        self
    }
}

impl<T> fmt::Debug for IndexedStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IndexedStream").field(&self.program).finish()
    }
}
