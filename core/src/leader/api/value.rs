//! The future of a job with one value.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt, future::BoxFuture};

use crate::{codec::CodecError, error::Error, id::JobId, leader::io::CreditedBlock};

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

/// Which outputs to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// All: the value is valid once the job has succeeded.
    All,
    /// The first: further outputs are not needed, and the source may be endless.
    First,
}

impl<V: Send + 'static> ValueFuture<V> {
    pub(super) fn new<S>(
        job: JobId,
        blocks: S,
        reading: Reading,
        decode: fn(Option<&[u8]>) -> Result<V, CodecError>,
    ) -> Self
    where
        S: Stream<Item = Result<CreditedBlock, Error>> + Send + 'static,
    {
        Self { value: Box::pin(read_value(job, blocks, reading, decode)) }
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

async fn read_value<V>(
    job: JobId,
    blocks: impl Stream<Item = Result<CreditedBlock, Error>>,
    reading: Reading,
    decode: fn(Option<&[u8]>) -> Result<V, CodecError>,
) -> Result<V, Error> {
    let mut blocks = std::pin::pin!(blocks);
    let mut value = None;
    while let Some(block) = blocks.next().await {
        let block = block?.block;
        if block.count > 0 && value.is_none() {
            value = Some((block.indexes.get(0), block.values));
            if reading == Reading::First {
                break;
            }
        }
    }
    let (index, bytes) = value.unzip();
    decode(bytes.as_deref()).map_err(|error| Error::Decode {
        job,
        index: index.unwrap_or_default(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures::stream;

    use super::*;
    use crate::{
        codec,
        leader::{
            engine::{Indexes, OutputBlock},
            io::CreditGuard,
        },
    };

    fn block(values: &'static [u8], count: u32) -> Result<CreditedBlock, Error> {
        let credit = CreditGuard::new(JobId::new(), 0, Arc::default());
        let values = Bytes::from_static(values);
        let indexes = Indexes::Range { first: 3 };
        let block = OutputBlock { values, count, indexes, charged: 0 };
        Ok(CreditedBlock { block, credit })
    }

    fn decode(bytes: Option<&[u8]>) -> Result<Option<u8>, CodecError> {
        bytes.map(codec::decode).transpose()
    }

    fn decode_front(bytes: Option<&[u8]>) -> Result<Option<u8>, CodecError> {
        bytes.map(|mut bytes| codec::decode_front(&mut bytes)).transpose()
    }

    #[tokio::test]
    async fn a_value_is_valid_once_its_job_has_succeeded() {
        let job = JobId::new();
        let good = stream::iter([block(&[], 0), block(&[7], 1)]);
        assert_eq!(ValueFuture::new(job, good, Reading::All, decode).await.unwrap(), Some(7));
        let bad = stream::iter([block(&[7], 1), Err(Error::Cancelled { job })]);
        let error = ValueFuture::new(job, bad, Reading::All, decode).await.unwrap_err();
        assert!(matches!(error, Error::Cancelled { .. }));
    }

    #[tokio::test]
    async fn a_job_without_output_has_no_value() {
        let empty = stream::iter([block(&[], 0)]);
        assert_eq!(
            ValueFuture::new(JobId::new(), empty, Reading::All, decode).await.unwrap(),
            None
        );
    }

    #[tokio::test]
    async fn the_first_output_suffices_if_the_source_is_endless() {
        let endless = stream::iter([block(&[7, 8], 2)]).chain(stream::pending());
        let first = ValueFuture::new(JobId::new(), endless, Reading::First, decode_front).await;
        assert_eq!(first.unwrap(), Some(7));
    }

    #[tokio::test]
    async fn a_value_that_does_not_decode_is_an_error() {
        let garbage = stream::iter([block(&[7, 8], 1)]);
        let error =
            ValueFuture::new(JobId::new(), garbage, Reading::All, decode).await.unwrap_err();
        assert!(matches!(error, Error::Decode { index: 3, .. }), "{error}");
    }
}
