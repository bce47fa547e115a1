//! The loops that pull elements from iterators and streams.

use std::{
    any::TypeId,
    error::Error as StdError,
    ops::{Range, RangeInclusive},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    vec,
};

use futures::{FutureExt, Stream, StreamExt, future::BoxFuture};
use tokio_util::task::AbortOnDropHandle;

use super::{BlockBuffer, Budget, PushError};
use crate::operation::{Data, panic_message};

pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// Failures of an input other than its own errors.
#[derive(Debug, thiserror::Error)]
enum InputFault {
    #[error("the element cannot be encoded: {0}")]
    Element(PushError),
    #[error("the input panicked: {0}")]
    Panic(String),
    #[error("the tokio runtime is shutting down")]
    Shutdown,
}

/// An iterator or stream. One virtual call per fill, none per element.
pub(super) trait Pump: Send {
    fn size_hint(&self) -> (usize, Option<usize>);
    fn fill(
        self: Box<Self>,
        buffer: Arc<BlockBuffer>,
        budget: Budget,
    ) -> BoxFuture<'static, Filled>;
}

/// The outcome of one fill.
pub(super) struct Filled {
    /// The pump for the next fill; `None` if the input has ended or failed.
    pub(super) pump: Option<Box<dyn Pump>>,
    pub(super) pushed: u64,
    pub(super) outcome: Result<Flow, BoxError>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    More,
    Ended,
}

/// One fill in progress.
struct Filling {
    buffer: Arc<BlockBuffer>,
    budget: Budget,
    pushed: u64,
    bytes: usize,
}

impl Filling {
    fn new(buffer: Arc<BlockBuffer>, budget: Budget) -> Self {
        Self { buffer, budget, pushed: 0, bytes: 0 }
    }

    #[inline]
    fn has_budget(&self) -> bool {
        self.pushed < self.budget.elements && self.bytes < self.budget.bytes
    }

    /// Pushes one item of the input; the end and failures leave the loop.
    #[inline]
    fn accept<T: Data>(&mut self, item: Option<Result<T, BoxError>>) -> Result<Flow, BoxError> {
        let Some(item) = item else { return Ok(Flow::Ended) };
        let pushed = self.buffer.push(&item?);
        self.count(pushed)
    }

    /// Pushes many items under one lock; the input must not block.
    #[inline]
    fn accept_many<T: Data>(
        &mut self,
        items: &mut impl Iterator<Item = Result<T, BoxError>>,
    ) -> Result<Flow, BoxError> {
        let buffer = Arc::clone(&self.buffer);
        let mut block = buffer.open();
        for _ in 0..ELEMENTS_PER_TURN {
            if !self.has_budget() {
                break;
            }
            let Some(item) = items.next() else { return Ok(Flow::Ended) };
            let pushed = block.push(&item?);
            if self.count(pushed)? == Flow::Ended {
                return Ok(Flow::Ended);
            }
        }
        Ok(Flow::More)
    }

    #[inline]
    fn count(&mut self, pushed: Result<usize, PushError>) -> Result<Flow, BoxError> {
        match pushed {
            Ok(bytes) => {
                self.pushed += 1;
                self.bytes += bytes;
                Ok(Flow::More)
            }
            Err(PushError::Closed) => Ok(Flow::Ended),
            Err(error) => Err(InputFault::Element(error).into()),
        }
    }
}

pub(super) struct IteratorPump<I> {
    iterator: I,
    /// Whether `next` never blocks and runs no user code.
    in_memory: bool,
}

impl<I> IteratorPump<I> {
    pub(super) fn new(iterator: I, in_memory: bool) -> Self {
        Self { iterator, in_memory }
    }
}

/// Whether `I` is the iterator of a range or of a `Vec`: its `next` never blocks.
pub(super) fn is_in_memory<I: Iterator<Item: 'static> + 'static>() -> bool {
    [
        TypeId::of::<Range<I::Item>>(),
        TypeId::of::<RangeInclusive<I::Item>>(),
        TypeId::of::<vec::IntoIter<I::Item>>(),
    ]
    .contains(&TypeId::of::<I>())
}

impl<I, T> Pump for IteratorPump<I>
where
    I: Iterator<Item = Result<T, BoxError>> + Send + 'static,
    T: Data,
{
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.iterator.size_hint()
    }

    fn fill(
        self: Box<Self>,
        buffer: Arc<BlockBuffer>,
        budget: Budget,
    ) -> BoxFuture<'static, Filled> {
        let fill = move || {
            let mut filling = Filling::new(buffer, budget);
            let mut pump = Some(self);
            // An iterator that has ended is dropped in here, because its `drop` may panic or block.
            let pass = catch_unwind(AssertUnwindSafe(|| {
                let outcome = pump.as_mut().map_or(Ok(Flow::Ended), |pump| pump.pull(&mut filling));
                if !matches!(outcome, Ok(Flow::More)) {
                    pump = None;
                }
                outcome
            }));
            let outcome = pass.unwrap_or_else(|payload| {
                // An iterator that panicked is in an unknown state and is not pulled again.
                let _ = catch_unwind(AssertUnwindSafe(|| pump = None));
                Err(InputFault::Panic(panic_message(&*payload).to_owned()).into())
            });
            Filled { pump: pump.map(|pump| pump as Box<dyn Pump>), pushed: filling.pushed, outcome }
        };
        let run =
            async move { tokio::task::spawn_blocking(fill).await.unwrap_or_else(|_| shut_down()) };
        run.boxed()
    }
}

impl<I, T> IteratorPump<I>
where
    I: Iterator<Item = Result<T, BoxError>>,
    T: Data,
{
    fn pull(&mut self, filling: &mut Filling) -> Result<Flow, BoxError> {
        while filling.has_budget() {
            let flow = if self.in_memory {
                filling.accept_many(&mut self.iterator)?
            } else {
                filling.accept(self.iterator.next())?
            };
            if flow == Flow::Ended {
                return Ok(Flow::Ended);
            }
        }
        Ok(Flow::More)
    }
}

/// After this many elements, an input that is always ready yields to other tasks and to the driver.
const ELEMENTS_PER_TURN: u64 = 1024;

pub(super) struct StreamPump<S>(Pin<Box<S>>);

impl<S> StreamPump<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Box::pin(stream))
    }
}

impl<S, T> Pump for StreamPump<S>
where
    S: Stream<Item = Result<T, BoxError>> + Send + 'static,
    T: Data,
{
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }

    fn fill(
        mut self: Box<Self>,
        buffer: Arc<BlockBuffer>,
        budget: Budget,
    ) -> BoxFuture<'static, Filled> {
        let fill = async move {
            let mut filling = Filling::new(buffer, budget);
            let pass = AssertUnwindSafe(self.pull(&mut filling)).catch_unwind().await;
            let outcome = pass.unwrap_or_else(|payload| {
                Err(InputFault::Panic(panic_message(&*payload).to_owned()).into())
            });
            let pump = matches!(outcome, Ok(Flow::More)).then_some(self as Box<dyn Pump>);
            Filled { pump, pushed: filling.pushed, outcome }
        };
        let run = async move {
            let task = AbortOnDropHandle::new(tokio::spawn(fill));
            task.await.unwrap_or_else(|_| shut_down())
        };
        run.boxed()
    }
}

impl<S, T> StreamPump<S>
where
    S: Stream<Item = Result<T, BoxError>>,
    T: Data,
{
    async fn pull(&mut self, filling: &mut Filling) -> Result<Flow, BoxError> {
        while filling.has_budget() {
            let item = self.0.next().await;
            if filling.accept(item)? == Flow::Ended {
                return Ok(Flow::Ended);
            }
            if filling.pushed.is_multiple_of(ELEMENTS_PER_TURN) {
                tokio::task::yield_now().await;
            }
        }
        Ok(Flow::More)
    }
}

fn shut_down() -> Filled {
    Filled { pump: None, pushed: 0, outcome: Err(InputFault::Shutdown.into()) }
}
