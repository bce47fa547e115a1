//! The future of a job with one value.

use std::{
    fmt,
    future::Future,
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt, future::BoxFuture};

use super::{dropped::Satisfied, undecoded::Undecoded};
use crate::{error::Error, id::JobId, leader::io::CreditedBlock, plan::Collector};

/// A future that resolves to the value of a job, or to its error.
///
/// Returned by [`ValueProgram::start`](crate::plan::ValueProgram::start) and
/// [`FoldProgram::start`](crate::plan::FoldProgram::start). The job is cancelled when the future
/// and all [`Job`](super::Job) handles are dropped.
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
/// use phalanx::ValueFuture;
///
/// let (job, sum) = IndexedStream::from(1..=100).reduce(Add).start(&runtime)?;
/// let sum: ValueFuture<Option<u64>> = sum;
/// assert_eq!(sum.await?, Some(5050));
/// println!("job {} is over", job.id());
/// # Ok(())
/// # }
/// ```
#[must_use = "a future does nothing until it is awaited, and dropping it may cancel its job"]
pub struct ValueFuture<V> {
    value: BoxFuture<'static, Result<V, Error>>,
}

impl<V: Send + 'static> ValueFuture<V> {
    pub(super) fn new<S>(
        job: JobId,
        blocks: S,
        collector: Box<dyn Collector<V>>,
        satisfied: Satisfied,
    ) -> Self
    where
        S: Stream<Item = Result<CreditedBlock, Error>> + Send + 'static,
    {
        let value = async move {
            let mut blocks = std::pin::pin!(blocks);
            let value = collect(job, blocks.as_mut(), collector).await;
            // Before the outputs are dropped, and the job with them: that is no mistake.
            satisfied.set();
            value
        };
        Self { value: Box::pin(value) }
    }
}

impl<V> Future for ValueFuture<V> {
    type Output = Result<V, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.value.as_mut().poll(cx)
    }
}

impl<V> fmt::Debug for ValueFuture<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueFuture").finish_non_exhaustive()
    }
}

/// Reads outputs until the value is complete, or the job has succeeded.
async fn collect<V>(
    job: JobId,
    mut blocks: impl Stream<Item = Result<CreditedBlock, Error>> + Unpin,
    mut collector: Box<dyn Collector<V>>,
) -> Result<V, Error> {
    while !collector.is_complete()
        && let Some(block) = blocks.next().await
    {
        let CreditedBlock { block, credit: _credit } = block?;
        let mut rest = Undecoded::new(job, block);
        while rest.len() > 0 && !collector.is_complete() {
            rest.decode_chunk(|_, bytes| {
                collector.add(bytes)?;
                Ok(match collector.is_complete() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            })?;
            if rest.len() > 0 {
                // Large blocks must not keep other tasks from running.
                tokio::task::yield_now().await;
            }
        }
    }
    collector.finish().map_err(|error| Error::Decode { job, index: 0, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures::stream;

    use super::*;
    use crate::{
        leader::{
            engine::{Indexes, OutputBlock},
            io::CreditGuard,
        },
        plan::{One, Top, TopByKey},
        registry::Largest,
    };

    fn block(values: &'static [u8], count: u32) -> Result<CreditedBlock, Error> {
        let credit = CreditGuard::new(JobId::new(), 0, Arc::default());
        let values = Bytes::from_static(values);
        let indexes = Indexes::Range { first: 3 };
        let block = OutputBlock { values, count, indexes, charged: 0 };
        Ok(CreditedBlock { block, credit })
    }

    async fn value<V: Send + 'static>(
        blocks: impl Stream<Item = Result<CreditedBlock, Error>> + Send + 'static,
        collector: impl Collector<V> + 'static,
    ) -> Result<V, Error> {
        let collector = Box::new(collector);
        ValueFuture::new(JobId::new(), blocks, collector, Satisfied::default()).await
    }

    #[tokio::test]
    async fn a_value_is_valid_once_its_job_has_succeeded() {
        let good = stream::iter([block(&[], 0), block(&[7], 1)]);
        assert_eq!(value::<Option<u8>>(good, One::<u8>::only()).await.unwrap(), Some(7));
        let cancelled = Error::Cancelled { job: JobId::new() };
        let bad = stream::iter([block(&[7], 1), Err(cancelled)]);
        let error = value::<Option<u8>>(bad, One::<u8>::only()).await.unwrap_err();
        assert!(matches!(error, Error::Cancelled { .. }));
    }

    #[tokio::test]
    async fn a_job_without_output_has_no_value() {
        let empty = || stream::iter([block(&[], 0)]);
        assert_eq!(value::<Option<u8>>(empty(), One::<u8>::only()).await.unwrap(), None);
        value::<()>(empty(), One::<()>::only()).await.unwrap();
        let error = value::<u8>(empty(), One::<u8>::only()).await.unwrap_err();
        assert!(matches!(error, Error::Decode { .. }), "{error}");
    }

    #[tokio::test]
    async fn the_first_output_suffices_if_the_source_is_endless() {
        let endless = stream::iter([block(&[7, 0xff], 2)]).chain(stream::pending());
        assert_eq!(value::<Option<u8>>(endless, One::<u8>::first()).await.unwrap(), Some(7));
    }

    #[tokio::test]
    async fn a_value_that_does_not_decode_is_an_error() {
        let garbage = stream::iter([block(&[7, 8], 1)]);
        let error = value::<u8>(garbage, One::<u8>::only()).await.unwrap_err();
        assert!(matches!(error, Error::Decode { index: 3, .. }), "{error}");
    }

    #[tokio::test]
    async fn a_value_of_several_outputs_needs_all_blocks() {
        let blocks = || stream::iter([block(&[7, 9, 8], 3), block(&[], 0), block(&[5, 10], 2)]);
        assert_eq!(value(blocks(), Top(Largest::<u8, ()>::new(3))).await.unwrap(), [10, 9, 8]);
        // Pairs of a key and an element, the last of which is incomplete.
        let pairs = stream::iter([block(&[1, 9, 8], 2)]);
        let error = value(pairs, TopByKey(Largest::<u8, u8>::new(3))).await.unwrap_err();
        assert!(matches!(error, Error::Decode { index: 4, .. }), "{error}");
    }

    #[tokio::test]
    async fn a_top_of_zero_reads_no_outputs() {
        let none = value(stream::pending(), Top(Largest::<u8, ()>::new(0))).await.unwrap();
        assert!(none.is_empty());
    }

    /// Asserts, when it is dropped, that the program has what it asked for.
    struct NeededUntil(Satisfied);

    impl Drop for NeededUntil {
        fn drop(&mut self) {
            assert!(self.0.is_set(), "the job is dropped as if that were a mistake");
        }
    }

    #[tokio::test]
    async fn a_job_whose_further_outputs_are_not_needed_is_not_dropped_by_mistake() {
        let satisfied = Satisfied::default();
        let job = NeededUntil(satisfied.clone());
        let blocks = stream::iter([block(&[7], 1)]).chain(stream::pending()).map(move |block| {
            let _job = &job;
            block
        });
        let first: Box<dyn Collector<u8>> = Box::new(One::first());
        let value = ValueFuture::new(JobId::new(), blocks, first, satisfied);
        assert_eq!(value.await.unwrap(), 7);
    }

    #[derive(PartialEq, Eq, serde::Serialize, serde::Deserialize)]
    struct Incomparable(u8);

    impl Ord for Incomparable {
        fn cmp(&self, _: &Self) -> std::cmp::Ordering {
            panic!("these cannot be compared")
        }
    }

    impl PartialOrd for Incomparable {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }

    #[tokio::test]
    async fn a_panic_while_elements_are_compared_is_an_error() {
        let blocks = stream::iter([block(&[7, 9], 2)]);
        let outcome = value(blocks, Top(Largest::<Incomparable, ()>::new(1))).await;
        assert!(matches!(outcome, Err(Error::Decode { index: 4, .. })));
    }
}
