//! What a user composes.

use std::{error::Error as StdError, fmt, marker::PhantomData, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::{
    End, FoldProgram, OnFailure, PlanError, Program, Source, ValueProgram, directive::Directive,
};
use crate::{
    codec,
    operation::{Data, Monoid, OperationError, Step},
    registry::Verb,
};

/// A program over elements of type `T`: a source and the directives that follow it.
///
/// Nothing runs before an end such as [`run`](Self::run), [`collect`](Self::collect) or
/// [`fold`](Self::fold)`(…).run(…)`. Elements are numbered from 0 in the order of the source.
/// Mistakes, such as an operation that is not registered, come out of the end as
/// [`Error::Plan`](crate::Error::Plan).
#[must_use = "a program does nothing until it is run"]
pub struct IndexedStream<T> {
    pub(crate) program: Program,
    element: PhantomData<fn() -> T>,
}

/// The elements of an iterator, which is pulled lazily, on a thread that may block.
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
    /// The elements of an iterator that may fail: its first `Err` fails the job, as
    /// [`Error::Input`](crate::Error::Input).
    pub fn try_from_iter<I, E>(elements: I) -> Self
    where
        I: IntoIterator<Item = Result<T, E>>,
        I::IntoIter: Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self::new(Source::from_iter(elements.into_iter().map(|item| item.map_err(Into::into))))
    }

    /// The elements of an asynchronous stream; it may be endless.
    pub fn from_stream<S>(elements: S) -> Self
    where
        S: Stream<Item = T> + Send + 'static,
    {
        Self::new(Source::from_stream(elements.map(Ok)))
    }

    /// The elements of an asynchronous stream that may fail: its first `Err` fails the job, as
    /// [`Error::Input`](crate::Error::Input).
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
    /// Runs an operation on each element.
    pub fn map<O, Mode>(self, operation: O) -> IndexedStream<O::Output>
    where
        O: Step<Mode, Input = T>,
    {
        self.step(&operation, Verb::Map)
    }

    /// As [`map`](Self::map), but failures become values: errors, panics, timeouts and crashes.
    ///
    /// Transient errors and timeouts are still retried before.
    pub fn try_map<O, Mode>(self, operation: O) -> IndexedStream<Result<O::Output, OperationError>>
    where
        O: Step<Mode, Input = T>,
    {
        self.step(&operation, Verb::TryMap)
    }

    /// Keeps the elements for which the operation says `true`.
    pub fn filter<O, Mode>(self, operation: O) -> Self
    where
        O: Step<Mode, Input = T, Output = bool>,
        T: Clone,
    {
        self.step(&operation, Verb::Filter)
    }

    /// Runs an operation on each element and goes on with all items of its outputs, in order.
    ///
    /// They keep the index of the element that they come from. An element that fails gives none.
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
    /// Right behind the source, the first ones. Behind other directives, those that are completed
    /// first, or the first in input order where the program is [`ordered`](Self::ordered) or
    /// collected; then only `map` and `try_map` may follow.
    pub fn take(mut self, count: u64) -> Self {
        self.program.take(count);
        self
    }
}

/// Settings.
impl<T: Data> IndexedStream<T> {
    /// What an element does to the job when it fails for good in the step before.
    /// Default: [`OnFailure::FailJob`].
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.program.set_on_failure(on_failure);
        self
    }

    /// How often an element is tried again in the step before, after transient errors and
    /// timeouts. Default: what the operation says by `#[remote(retries = …)]`, else 3.
    pub fn retries(self, retries: u32) -> Self {
        self.set("retries", |directive| {
            directive.step.retries = retries;
            Ok(())
        })
    }

    /// How long the step before may run on one element. Default: what the operation says by
    /// `#[remote(timeout = …)]`, else as long as it likes.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set("timeout", |directive| {
            directive.set_timeout(timeout);
            Ok(())
        })
    }

    /// Whose workers run the step before. Default: what the operation says by
    /// `#[remote(pool = …)]`, else `default`.
    pub fn pool(self, name: &str) -> Self {
        self.set("pool", |directive| directive.set_pool(name))
    }

    /// Puts exactly `elements` elements into each task of the whole program, the last one aside.
    /// Default: as many as measuring shows to be good.
    ///
    /// A worker still hands back what it cannot finish in time.
    pub fn batch(mut self, elements: u32) -> Self {
        self.program.set_batch(elements);
        self
    }

    /// Gives the results in input order. Default: as they are completed.
    pub fn ordered(mut self) -> Self {
        self.program.set_ordered();
        self
    }

    /// The plan of this program, for people: stages, what is fused, pools.
    ///
    /// # Errors
    /// When the program cannot be run as it is written.
    pub fn explain(&self) -> Result<String, PlanError> {
        self.program.explain()
    }
}

/// Ends that give one value.
impl<T: Data> IndexedStream<T> {
    /// Combines all elements, in order, in trees on the workers. Over nothing,
    /// [`Monoid::empty`].
    pub fn fold<M: Monoid<Elem = T>>(mut self, monoid: M) -> FoldProgram<T> {
        self.program.step(&monoid, Verb::Fold);
        let empty = match codec::encode(&monoid.empty()) {
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

    /// Combines all elements, in order, by an associative operation. Over nothing, `None`.
    pub fn reduce<O, Mode>(mut self, operation: O) -> FoldProgram<Option<T>>
    where
        O: Step<Mode, Input = (T, T), Output = T>,
    {
        self.program.step(&operation, Verb::Reduce);
        self.program.end(End::Fold { empty: None, deterministic: false }, "reduce");
        FoldProgram(ValueProgram::new(self.program, ValueProgram::perhaps_a_value))
    }

    /// Counts the elements.
    pub fn count(mut self) -> ValueProgram<u64> {
        self.program.end(End::Count, "count");
        ValueProgram::new(self.program, ValueProgram::the_value)
    }

    /// The first element in input order, if there is one.
    pub fn first(mut self) -> ValueProgram<Option<T>> {
        self.program.set_ordered();
        self.program.take(1);
        ValueProgram::new(self.program, ValueProgram::perhaps_the_first)
    }

    /// Runs an operation for what it does, not for what it gives.
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
