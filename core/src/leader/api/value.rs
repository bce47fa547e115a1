//! The one value that a job ends in.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt, future::BoxFuture};

use crate::{codec::CodecError, error::Error, id::JobId, leader::io::CreditedBlock};

/// The one value that a job ends in: a future.
///
/// Dropped together with the [`Job`](super::Job) handle, it cancels the job.
#[must_use = "a future does nothing until it is awaited, and dropping it may cancel its job"]
pub struct ValueFuture<V> {
    value: BoxFuture<'static, Result<V, Error>>,
}

/// How much of the outputs to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// To the end of the job: its value counts when it has succeeded.
    All,
    /// To the first output; there may be more to come, without end.
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
        let credit = CreditGuard { job: JobId::new(), bytes: 0, returned: Arc::default() };
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
    async fn a_value_counts_when_its_job_has_succeeded() {
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
    async fn the_first_output_is_enough_where_more_may_come_without_end() {
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
