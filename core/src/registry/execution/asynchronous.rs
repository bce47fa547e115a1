//! Asynchronous operations: all elements of a chunk concurrently.

use std::{
    any::Any,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::StreamExt;

use super::{Queue, State, caught, remove_last, wrong_type};
use crate::{
    operation::{AsyncOperation, Data, ErrorKind, Execution, OperationError, Result, TaskContext},
    registry::{Column, FailedElement, StepFuture, description::VerbEntry, values::Guarded},
};

/// The result of one element, with its type erased.
type AnyResult = Box<dyn Any + Send>;
type ElementFuture<'a> = Pin<Box<dyn Future<Output = Result<AnyResult>> + Send + 'a>>;

/// Makes the future of the next input; `None` if there is none.
pub(in crate::registry) type Start =
    for<'a> fn(&'a State, &mut Queue, TaskContext) -> Option<ElementFuture<'a>>;
/// Adds the outputs that a result stands for.
pub(in crate::registry) type Finish = fn(AnyResult, &mut Guarded);

/// For `map`, `try_map` and `flat_map`.
pub(in crate::registry) fn start<'a, O: AsyncOperation>(
    state: &'a State,
    queue: &mut Queue,
    cx: TaskContext,
) -> Option<ElementFuture<'a>> {
    let operation = state.downcast_ref::<O>()?;
    let value = queue.downcast_mut::<std::vec::IntoIter<O::Input>>()?.next()?;
    Some(Box::pin(async move {
        let output = operation.execute(value, &cx).await?;
        Ok(Box::new(output) as AnyResult)
    }))
}

/// For `filter`: the result is the input, if it is kept.
pub(in crate::registry) fn start_filter<'a, O: AsyncOperation<Output = bool>>(
    state: &'a State,
    queue: &mut Queue,
    cx: TaskContext,
) -> Option<ElementFuture<'a>>
where
    O::Input: Clone,
{
    let operation = state.downcast_ref::<O>()?;
    let value = queue.downcast_mut::<std::vec::IntoIter<O::Input>>()?.next()?;
    Some(Box::pin(async move {
        let looked_at = value.clone();
        let kept = operation.execute(looked_at, &cx).await?.then_some(value);
        Ok(Box::new(kept) as AnyResult)
    }))
}

/// For `map` and `try_map`.
pub(in crate::registry) fn finish<U: Data>(output: AnyResult, outputs: &mut Guarded) {
    if let (Ok(output), Some(outputs)) = (output.downcast::<U>(), outputs.vec_mut::<U>()) {
        outputs.push(*output);
    }
}

/// For `filter` and `flat_map`.
pub(in crate::registry) fn finish_all<I: IntoIterator<Item: Data> + 'static>(
    output: AnyResult,
    outputs: &mut Guarded,
) {
    if let (Ok(output), Some(outputs)) = (output.downcast::<I>(), outputs.vec_mut::<I::Item>()) {
        for item in *output {
            outputs.push(item);
        }
    }
}

/// One run of an asynchronous step on one chunk.
#[derive(Clone, Copy)]
pub(super) struct AsyncRun<'a> {
    pub(super) name: &'a str,
    pub(super) entry: &'a VerbEntry,
    pub(super) state: &'a State,
    pub(super) execution: &'a Arc<Execution>,
    pub(super) concurrency: usize,
    pub(super) timeout: Option<Duration>,
    /// Whether the column of the outputs tells the input of each.
    pub(super) tracks: bool,
}

impl<'a> AsyncRun<'a> {
    /// Runs all elements concurrently, and adds their results to the outputs in input order.
    pub(super) fn all(self, start: Start, finish: Finish, input: Column) -> StepFuture<'a> {
        let (mut queue, offsets) = match self.entry.input.queue(input) {
            Ok(parts) => parts,
            Err(column) => {
                let failures = wrong_type(&column.offsets, self.name);
                return Box::pin(std::future::ready((Column::empty(), failures)));
            }
        };
        Box::pin(async move {
            let mut outputs = self.entry.output.values(offsets.len());
            let mut made = Vec::with_capacity(offsets.len());
            let mut sources = self.tracks.then(Vec::new);
            let mut failures: Vec<FailedElement> = Vec::new();
            let mut input = 0;
            let elements = offsets.into_iter().map_while(|offset| {
                let cx = TaskContext::new(self.execution.clone(), offset);
                let future = start(self.state, &mut queue, cx)?;
                let guarded = GuardedFuture { name: self.name, future: Some(future) };
                Some(async move {
                    // Cancelled elements end and make room for others, which must not begin.
                    if self.execution.cancelled.is_cancelled() {
                        return (offset, Err(OperationError::fatal("cancelled before it began")));
                    }
                    (offset, self.limited(guarded).await)
                })
            });
            let mut results = futures::stream::iter(elements).buffered(self.concurrency.max(1));
            while let Some((offset, result)) = results.next().await {
                input += 1;
                let failed = failures.last().map(|failure: &FailedElement| failure.offset);
                if failed == Some(offset) {
                    continue;
                }
                let finished = result.and_then(|result| {
                    caught(|| finish(result, &mut outputs))
                        .map_err(|panic| panic.into_error(self.name))
                });
                match finished {
                    Ok(()) => {
                        made.resize(outputs.len(), offset);
                        if let Some(sources) = &mut sources {
                            sources.resize(outputs.len(), input - 1);
                        }
                    }
                    Err(error) => {
                        remove_last(&mut outputs, &mut made, offset);
                        if let Some(sources) = &mut sources {
                            sources.truncate(made.len());
                        }
                        failures.push(FailedElement { offset, error });
                    }
                }
            }
            drop(results);
            (Column::from_parts(outputs, made).with_sources(sources), failures)
        })
    }

    async fn limited(self, element: GuardedFuture<'a>) -> Result<AnyResult> {
        let Some(timeout) = self.timeout else {
            return element.await;
        };
        tokio::time::timeout(timeout, element)
            .await
            .unwrap_or_else(|_| Err(timed_out(self.name, timeout)))
    }
}

fn timed_out(name: &str, timeout: Duration) -> OperationError {
    OperationError::new(
        ErrorKind::Timeout,
        format!("operation `{name}` ran longer than its timeout of {timeout:?}"),
    )
}

/// A future of the user; panics in its `poll` and `drop` are caught.
struct GuardedFuture<'a> {
    name: &'a str,
    /// `None` after it was dropped.
    future: Option<ElementFuture<'a>>,
}

impl Future for GuardedFuture<'_> {
    type Output = Result<AnyResult>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<AnyResult>> {
        let name = self.name;
        let Some(future) = &mut self.future else {
            return Poll::Pending;
        };
        caught(|| future.as_mut().poll(context))
            .unwrap_or_else(|panic| Poll::Ready(Err(panic.into_error(name))))
    }
}

impl Drop for GuardedFuture<'_> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            let _ = caught(|| drop(future));
        }
    }
}
