//! The loops that pull elements from iterators and streams.

use std::{
    any::TypeId,
    error::Error as StdError,
    io,
    ops::{Range, RangeInclusive},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    thread, vec,
};

use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::{BlockBuffer, Budget, PushError};
use crate::operation::{Data, panic_message};

pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// Failures of an input other than its own errors.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputFault {
    #[error("the element cannot be encoded: {0}")]
    Element(PushError),
    #[error("the input panicked: {0}")]
    Panic(String),
    #[error("the operating system creates no thread for it: {0}")]
    Thread(io::Error),
    #[error("the tokio runtime is shutting down")]
    Shutdown,
}

/// An iterator or stream. One message per fill, nothing virtual per element.
pub(super) trait Pump: Send {
    /// Whether a fill blocks its thread.
    fn is_blocking(&self) -> bool;

    fn size_hint(&self) -> SizeHint;

    /// Moves the input to a thread or task of its own, which serves fills until the input ends or
    /// their sender is dropped, and drops the input there: that is code of the user, which may panic
    /// or block.
    ///
    /// # Errors
    /// If the operating system creates no thread.
    fn start(self: Box<Self>, fills: mpsc::Receiver<Fill>) -> io::Result<()>;
}

/// The least and the most remaining elements.
pub(super) type SizeHint = (usize, Option<usize>);

/// A request for elements.
pub(super) struct Fill {
    pub(super) buffer: Arc<BlockBuffer>,
    pub(super) budget: Budget,
    /// Receives the outcome. If the receiver is dropped, the input is no longer wanted.
    pub(super) done: oneshot::Sender<Filled>,
}

/// The outcome of one fill.
pub(super) struct Filled {
    /// After anything other than `More`, the input is gone.
    pub(super) outcome: Result<Flow, BoxError>,
    pub(super) pushed: u64,
    pub(super) hint: SizeHint,
}

/// The stack of the thread of an iterator: that of a main thread.
const STACK: usize = 8 << 20;

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
    fn is_blocking(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        self.iterator.size_hint()
    }

    fn start(self: Box<Self>, mut fills: mpsc::Receiver<Fill>) -> io::Result<()> {
        // Not a thread of Tokio's pool: that is bounded, and waits at the end of the program for
        // threads that wait for input. This one is not waited for.
        let thread = thread::Builder::new().name("phalanx-input".to_owned()).stack_size(STACK);
        let serve = move || {
            let mut pump = Some(self);
            while let Some(Fill { buffer, budget, done }) = fills.blocking_recv() {
                let mut filling = Filling::new(buffer, budget);
                let pass = catch_unwind(AssertUnwindSafe(|| {
                    let pull = |pump: &mut Box<Self>| pump.pull(&mut filling);
                    let outcome = pump.as_mut().map_or(Ok(Flow::Ended), pull);
                    let hint = pump.as_ref().map_or((0, None), |pump| pump.size_hint());
                    (outcome, hint)
                }));
                let (outcome, hint) = pass.unwrap_or_else(|payload| {
                    let panic = InputFault::Panic(panic_message(&*payload).to_owned());
                    (Err(panic.into()), (0, Some(0)))
                });
                let is_over = !matches!(outcome, Ok(Flow::More));
                if is_over {
                    // Before its end is known, because then the program may end.
                    drop_caught(&mut pump);
                }
                // Fails if the input is no longer wanted.
                let _ = done.send(Filled { outcome, pushed: filling.pushed, hint });
                if is_over {
                    return;
                }
            }
            drop_caught(&mut pump);
        };
        thread.spawn(serve).map(drop)
    }
}

/// Drops a value of the user, whose `drop` may panic.
fn drop_caught<T>(value: &mut Option<T>) {
    // The payload is a value of the user, too: dropping it may panic.
    let _ = catch_unwind(AssertUnwindSafe(|| *value = None)).map_err(std::mem::forget);
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
    fn is_blocking(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }

    fn start(mut self: Box<Self>, mut fills: mpsc::Receiver<Fill>) -> io::Result<()> {
        // Detached: it ends when the sender of fills is dropped, or the receiver of their outcome.
        tokio::spawn(async move {
            while let Some(Fill { buffer, budget, mut done }) = fills.recv().await {
                let mut filling = Filling::new(buffer, budget);
                let pull = AssertUnwindSafe(self.pull(&mut filling)).catch_unwind();
                // Cancel-safe: a pull that is dropped is never continued.
                let pass = tokio::select! {
                    pass = pull => pass,
                    () = done.closed() => return,
                };
                let outcome = pass.unwrap_or_else(|payload| {
                    Err(InputFault::Panic(panic_message(&*payload).to_owned()).into())
                });
                let hint = catch_unwind(AssertUnwindSafe(|| self.size_hint()));
                let is_over = !matches!(outcome, Ok(Flow::More));
                let hint = hint.unwrap_or((0, None));
                let _ = done.send(Filled { outcome, pushed: filling.pushed, hint });
                if is_over {
                    return;
                }
            }
        });
        Ok(())
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
