//! Asynchronous operations: all elements of a chunk concurrently.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::StreamExt;

use super::{AsyncBody, AsyncRun, Outputs, caught, wrong_type};
use crate::{
    operation::{AsyncOperation, Data, ErrorKind, OperationError, Result, TaskContext},
    registry::{Column, Failure, StepFuture},
};

pub(in crate::registry) struct AsyncMap<O>(pub(in crate::registry) O);

impl<O: AsyncOperation> AsyncBody for AsyncMap<O> {
    fn run<'a>(&'a self, input: Column, run: AsyncRun<'a>) -> StepFuture<'a> {
        run.each(
            input,
            move |value, cx| Box::pin(async move { self.0.execute(value, &cx).await }),
            |output, offset, outputs| outputs.push(output, offset),
        )
    }
}

pub(in crate::registry) struct AsyncTryMap<O>(pub(in crate::registry) O);

impl<O: AsyncOperation> AsyncBody for AsyncTryMap<O> {
    fn run<'a>(&'a self, input: Column, run: AsyncRun<'a>) -> StepFuture<'a> {
        run.each(
            input,
            move |value, cx| Box::pin(async move { self.0.execute(value, &cx).await }),
            |output, offset, outputs| outputs.push(Ok::<_, OperationError>(output), offset),
        )
    }
}

pub(in crate::registry) struct AsyncFilter<O>(pub(in crate::registry) O);

impl<O: AsyncOperation<Output = bool>> AsyncBody for AsyncFilter<O>
where
    O::Input: Clone,
{
    fn run<'a>(&'a self, input: Column, run: AsyncRun<'a>) -> StepFuture<'a> {
        run.each(
            input,
            move |value: O::Input, cx| {
                Box::pin(async move {
                    let looked_at = value.clone();
                    Ok(self.0.execute(looked_at, &cx).await?.then_some(value))
                })
            },
            |kept, offset, outputs| {
                if let Some(value) = kept {
                    outputs.push(value, offset);
                }
            },
        )
    }
}

pub(in crate::registry) struct AsyncFlatMap<O>(pub(in crate::registry) O);

impl<O: AsyncOperation> AsyncBody for AsyncFlatMap<O>
where
    O::Output: IntoIterator<Item: Data>,
{
    fn run<'a>(&'a self, input: Column, run: AsyncRun<'a>) -> StepFuture<'a> {
        run.each(
            input,
            move |value, cx| Box::pin(async move { self.0.execute(value, &cx).await }),
            |output: O::Output, offset, outputs| {
                for item in output {
                    outputs.push(item, offset);
                }
            },
        )
    }
}

type ElementFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

impl<'a> AsyncRun<'a> {
    /// Runs `start` on all values concurrently, and passes the results to `finish` in input order.
    fn each<T: Send + 'static, R: Send + 'a, U: Send + 'static>(
        self,
        input: Column,
        start: impl Fn(T, TaskContext) -> ElementFuture<'a, R> + Send + Sync + 'a,
        finish: impl Fn(R, u32, &mut Outputs<U>) + Send + 'a,
    ) -> StepFuture<'a> {
        let mut failures = Vec::new();
        let (values, offsets) = input.into_values::<T>().unwrap_or_else(|column| {
            failures = wrong_type(&column, self.name);
            (Vec::new(), Vec::new())
        });
        Box::pin(async move {
            let mut outputs = Outputs::with_capacity(values.len());
            let elements = values.into_iter().zip(offsets).map(|(value, offset)| {
                let cx = TaskContext::new(self.execution.clone(), offset);
                let guarded = GuardedFuture { name: self.name, future: Some(start(value, cx)) };
                async move {
                    // Cancelled elements end and make room for others, which must not begin.
                    if self.execution.cancelled.is_cancelled() {
                        return (offset, Err(OperationError::fatal("cancelled before it began")));
                    }
                    (offset, self.limited(guarded).await)
                }
            });
            let mut results = futures::stream::iter(elements).buffered(self.concurrency.max(1));
            while let Some((offset, result)) = results.next().await {
                let failed = failures.last().map(|failure: &Failure| failure.offset);
                if failed == Some(offset) {
                    continue;
                }
                let finished = result.and_then(|value| {
                    caught(|| finish(value, offset, &mut outputs))
                        .map_err(|panic| panic.into_error(self.name))
                });
                if let Err(error) = finished {
                    outputs.remove_last(offset);
                    failures.push(Failure { offset, error });
                }
            }
            (outputs.into_column(), failures)
        })
    }

    async fn limited<R>(self, element: GuardedFuture<'a, R>) -> Result<R> {
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
struct GuardedFuture<'a, R> {
    name: &'a str,
    /// `None` after it was dropped.
    future: Option<ElementFuture<'a, R>>,
}

impl<R> Future for GuardedFuture<'_, R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let name = self.name;
        let Some(future) = &mut self.future else {
            return Poll::Pending;
        };
        caught(|| future.as_mut().poll(context))
            .unwrap_or_else(|panic| Poll::Ready(Err(panic.into_error(name))))
    }
}

impl<R> Drop for GuardedFuture<'_, R> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            let _ = caught(|| drop(future));
        }
    }
}
