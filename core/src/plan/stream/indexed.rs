//! `IndexedStream`, and the sources that one is made of.

use std::{error::Error as StdError, fmt, marker::PhantomData};

use futures::{Stream, StreamExt};

use crate::{
    operation::{Data, RemoteExecute},
    plan::{ExchangeKind, PlanError, Program, Source, directive::Directive},
    registry::Verb,
};

/// A program over elements of type `T`: a source, and the directives that follow it.
///
/// - **Sources**: [`IndexedStream::from`] for anything that iterates,
///   [`try_from_iter`](Self::try_from_iter), [`from_stream`](Self::from_stream) and
///   [`try_from_stream`](Self::try_from_stream). Elements are numbered from 0 in the order of the
///   source; results, errors and events carry this index.
/// - **Directives**: [`map`](Self::map), [`try_map`](Self::try_map), [`filter`](Self::filter),
///   [`flat_map`](Self::flat_map), [`union`](Self::union), [`enumerate`](Self::enumerate),
///   [`sample`](Self::sample), [`take`](Self::take).
/// - **Settings** of the previous step: [`retries`](Self::retries), [`backoff`](Self::backoff),
///   [`timeout`](Self::timeout), [`pool`](Self::pool), [`on_failure`](Self::on_failure); of its
///   stage: [`batch`](Self::batch); of the program: [`ordered`](Self::ordered).
/// - **By key**, on pairs: [`reduce_by_key`](Self::reduce_by_key),
///   [`group_by_key`](Self::group_by_key), [`join`](Self::join) and others; on any elements
///   [`count_by_value`](Self::count_by_value), [`distinct`](Self::distinct),
///   [`intersection`](Self::intersection), [`subtract`](Self::subtract), [`zip`](Self::zip),
///   [`key_by`](Self::key_by).
/// - **Ends**: [`run`](Self::run), [`start`](Self::start) and [`collect`](Self::collect) for all
///   outputs; [`collect_map`](Self::collect_map) for pairs; [`fold`](Self::fold),
///   [`reduce`](Self::reduce), [`count`](Self::count), [`first`](Self::first), [`top`](Self::top),
///   [`top_by_key`](Self::top_by_key) and [`for_each`](Self::for_each) for one value.
///
/// Nothing runs before the end. Mistakes, such as an operation that is not registered, are kept and
/// returned by the end as [`Error::Plan`](crate::Error::Plan), so the methods of a chain need no
/// `?`.
///
/// After a [`union`](Self::union), results carry the number of the output instead.
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

impl<T> IndexedStream<T> {
    pub(super) fn step<O, U>(mut self, operation: &O, verb: Verb) -> IndexedStream<U>
    where
        O: RemoteExecute,
    {
        self.program.step(operation, verb);
        self.retyped()
    }

    /// An exchange of the elements of this stream and of another one.
    pub(super) fn joined<V, U>(
        mut self,
        kind: ExchangeKind,
        other: IndexedStream<V>,
    ) -> IndexedStream<U> {
        self.program.join(kind, other.program);
        self.retyped()
    }

    /// The same program, whose last directive gives elements of another type.
    pub(super) fn retyped<U>(self) -> IndexedStream<U> {
        IndexedStream { program: self.program, element: PhantomData }
    }

    pub(super) fn set(
        mut self,
        setting: &'static str,
        change: impl Fn(&mut Directive) -> Result<(), PlanError>,
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
