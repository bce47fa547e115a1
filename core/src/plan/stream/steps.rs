//! The directives that run an operation on each element, and those that bring streams together.

use super::IndexedStream;
use crate::{
    operation::{Data, Failure, Step},
    plan::ExchangeKind,
    registry::Verb,
};

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

    /// Keeps each element with this probability, from 0 to 1. Which ones the seed decides: each run
    /// of the program keeps the same.
    ///
    /// About `fraction` of the elements are kept, not exactly as many. Retries, lost workers and
    /// the sizes of tasks change nothing, nor does the number of workers. It is decided for each
    /// element on its own, by a hash of the seed, of the index of its source element and of its
    /// encoding, so equal elements need not share their fate. After an exchange the place of the
    /// element takes the place of the index, so that exchange has 64
    /// [`partitions`](Self::partitions) unless the program sets another number: another number
    /// keeps other elements.
    ///
    /// Costs no exchange; elements are encoded, if they are not, but not decoded.
    ///
    /// A fraction that is not between 0 and 1 is a mistake that the end of the program returns as
    /// [`Error::Plan`](crate::Error::Plan).
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let some = || IndexedStream::from(0..10_000).sample(0.1, 42);
    /// let count = some().count().run(&runtime).await?;
    /// assert!((900..1_100).contains(&count));
    /// assert_eq!(some().collect(&runtime).await?, some().collect(&runtime).await?);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "sample_by")]
    #[doc(alias = "random_split")]
    #[doc(alias = "take_sample")]
    pub fn sample(mut self, fraction: f64, seed: u64) -> Self {
        self.program.sample(fraction, seed);
        self
    }

    /// Makes pairs of each element and its number, from 0 in the order of the input, without gaps.
    ///
    /// After a [`filter`](Self::filter) or a [`flat_map`](Self::flat_map) these are the numbers of
    /// what is left or made. After an exchange, whose outputs have no order, the numbers follow the
    /// order in which [`collect`](Self::collect) returns them; each run gives the same, because the
    /// exchange has 64 [`partitions`](Self::partitions) unless the program sets another number.
    ///
    /// The leader numbers the elements, so all pass through it, and an element waits there until
    /// all before it have come. Directly after a source this costs nothing more than a source does.
    ///
    /// Several inputs have no common order: after a [`union`](Self::union) it is a mistake that the
    /// end of the program returns as [`Error::Plan`](crate::Error::Plan).
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn is_short(word: &String) -> bool {
    ///     word.len() < 4
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let words = IndexedStream::from(["the", "quick", "fox"].map(String::from));
    /// let numbered = words.filter(IsShort).enumerate().collect(&runtime).await?;
    /// assert_eq!(numbered, [(0, "the".to_owned()), (1, "fox".to_owned())]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "zip_with_index")]
    #[doc(alias = "zipWithIndex")]
    #[doc(alias = "with_row_index")]
    pub fn enumerate(mut self) -> IndexedStream<(u64, T)> {
        self.program.enumerate("enumerate");
        self.retyped()
    }

    /// Makes pairs of the elements of this stream and of another one that have equal numbers: the
    /// first of both, the second of both, and so on, as [`enumerate`](Self::enumerate) numbers
    /// them.
    ///
    /// The order of the pairs is not defined. If it matters, [`enumerate`](Self::enumerate) both
    /// streams and [`join`](Self::join) them, which keeps the numbers.
    ///
    /// Streams of different lengths fail the job with
    /// [`Error::UnequalLengths`](crate::Error::UnequalLengths), which has both, once both have
    /// ended. Neither may be endless, or a [`union`](Self::union); an iterator that chains several
    /// is fine.
    ///
    /// Costs what numbering both streams costs, and one exchange of all elements of both. If both
    /// are iterators, zip these instead: that costs nothing.
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
    /// let words = IndexedStream::from(["to", "be"].map(String::from));
    /// let zipped = words.flat_map(Chars).zip(IndexedStream::from(10..14));
    /// let mut pairs = zipped.collect(&runtime).await?;
    /// pairs.sort_by_key(|(_, number)| *number);
    /// assert_eq!(pairs, [('t', 10), ('o', 11), ('b', 12), ('e', 13)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn zip<U: Data>(mut self, mut other: IndexedStream<U>) -> IndexedStream<(T, U)> {
        self.program.enumerate("zip");
        other.program.enumerate("zip");
        self.joined(ExchangeKind::Zip, other)
    }

    /// Continues with the elements of this stream and those of another one.
    ///
    /// Both run at the same time. Collected or [`ordered`](Self::ordered), all outputs of this
    /// stream come before those of the other, which is then pulled once this one has ended. The
    /// index of a result is its number among the outputs; those of errors and events count from 0
    /// in each source. The steps that follow run in one pass with those of either side.
    ///
    /// At most 1,024 sources. Costs nothing: no element moves because of it.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn celsius(fahrenheit: f64) -> f64 {
    ///     ((fahrenheit - 32.0) / 1.8).round()
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let oslo = IndexedStream::from([-2.0, 3.0]);
    /// let boston = IndexedStream::from([50.0, 41.0]).map(Celsius);
    /// assert_eq!(oslo.union(boston).collect(&runtime).await?, [-2.0, 3.0, 10.0, 5.0]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "chain")]
    #[doc(alias = "concat")]
    #[doc(alias = "merge")]
    pub fn union(mut self, other: Self) -> Self {
        self.program.union(other.program);
        self
    }
}
