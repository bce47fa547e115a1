//! The stream of the outputs of a job.

use std::{
    future::poll_fn,
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll, ready},
    vec,
};

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{
    dropped::Satisfied,
    undecoded::{CHUNK_ELEMENTS, Undecoded},
};
use crate::{
    codec,
    error::Error,
    id::JobId,
    leader::io::{CreditGuard, CreditedBlock},
    operation::Data,
};

/// The decoded chunks that may wait for the reader.
const CHUNKS: usize = 2;

/// The outputs of a job: a stream of `(index, output)`, where `index` is the index of the source
/// element that the output was made from.
///
/// If the job fails, the last item is an `Err`. Outputs are decoded ahead of the reader in a
/// separate Tokio task. A reader that does not keep up slows down its own job, never others: up to
/// 32 MiB of encoded outputs are buffered. The job is cancelled when the stream and all
/// [`Job`](super::Job) handles are dropped.
///
/// [`next`](Self::next), [`try_next`](Self::try_next) and [`collect`](Self::collect) read it
/// without any import. It is also a [`Stream`], for the combinators of `futures` or
/// `tokio_stream`.
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
/// let results = IndexedStream::from([1, 2, 3]).map(Double).run(&runtime).await?;
/// let mut doubled = results.collect().await?;
/// doubled.sort();
/// assert_eq!(doubled, [(0, 2), (1, 4), (2, 6)]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a stream does nothing until it is polled, and dropping it may cancel its job"]
pub struct Results<T> {
    /// The decoded outputs that are yielded next.
    chunk: vec::IntoIter<(u64, T)>,
    /// Released when the last output of the block has been yielded.
    credit: Option<CreditGuard>,
    /// The number of outputs that may still be yielded.
    left: u64,
    /// `None` after the last item was yielded.
    chunks: Option<Chunks<T>>,
    /// Set after the last item was yielded.
    satisfied: Satisfied,
}

/// No field is structurally pinned.
impl<T> Unpin for Results<T> {}

#[derive(Debug)]
struct Chunks<T> {
    receiver: mpsc::Receiver<Decoded<T>>,
    _decoder: AbortOnDropHandle<()>,
}

/// A message from the decoding task to the stream.
#[derive(Debug)]
enum Decoded<T> {
    Chunk {
        items: Vec<(u64, T)>,
        /// Present in the last chunk of a block.
        credit: Option<CreditGuard>,
    },
    Failed(Error),
    /// The job has succeeded. A channel that closes without it means that the decoder has died.
    End,
}

impl<T: Data> Results<T> {
    /// Decodes `blocks` and yields at most `take` outputs.
    ///
    /// # Panics
    /// If called outside of a Tokio runtime.
    pub(super) fn new<S>(job: JobId, blocks: S, take: Option<u64>, satisfied: Satisfied) -> Self
    where
        S: Stream<Item = Result<CreditedBlock, Error>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let decoder = AbortOnDropHandle::new(tokio::spawn(decode_blocks(job, blocks, sender)));
        let left = take.unwrap_or(u64::MAX);
        let chunks = (left > 0).then_some(Chunks { receiver, _decoder: decoder });
        if chunks.is_none() {
            satisfied.set();
        }
        Self { chunk: Vec::new().into_iter(), credit: None, left, chunks, satisfied }
    }
}

impl<T> Results<T> {
    /// The next output with the index of its source element; an `Err` if the job has failed, and
    /// `None` after the last item.
    ///
    /// Cancel-safe: no output is lost if the future is dropped before it resolves.
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
    /// let mut results = IndexedStream::from([7]).map(Double).run(&runtime).await?;
    /// while let Some(item) = results.next().await {
    ///     let (index, output) = item?;
    ///     assert_eq!((index, output), (0, 14));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Result<(u64, T), Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Like [`next`](Self::next), but for `?`: `None` after the last output.
    ///
    /// Cancel-safe, as `next` is.
    ///
    /// # Errors
    /// The error that the job failed with.
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
    /// let mut results = IndexedStream::from([7]).map(Double).run(&runtime).await?;
    /// while let Some((index, output)) = results.try_next().await? {
    ///     assert_eq!((index, output), (0, 14));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_next(&mut self) -> Result<Option<(u64, T)>, Error> {
        self.next().await.transpose()
    }

    /// All outputs that have not been read yet, in the order of the stream: as they complete, or
    /// in input order if the program is [`ordered`](crate::plan::IndexedStream::ordered).
    ///
    /// They have to fit in memory, and so the source must end.
    ///
    /// # Errors
    /// The error that the job failed with. Outputs that arrived before it are dropped.
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
    /// let program = IndexedStream::from([7, 8]).map(Double).ordered();
    /// assert_eq!(program.run(&runtime).await?.collect().await?, [(0, 14), (1, 16)]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn collect(mut self) -> Result<Vec<(u64, T)>, Error> {
        let mut collected = Vec::new();
        while let Some(item) = self.try_next().await? {
            collected.push(item);
        }
        Ok(collected)
    }

    #[inline]
    fn next_of_chunk(&mut self) -> Option<(u64, T)> {
        let item = self.chunk.next()?;
        self.left -= 1;
        if self.left == 0 {
            self.finish();
        } else if self.chunk.as_slice().is_empty() {
            self.credit = None;
        }
        Some(item)
    }

    /// Releases the job after the last item.
    fn finish(&mut self) {
        self.chunk = Vec::new().into_iter();
        self.credit = None;
        self.satisfied.set();
        self.chunks = None;
    }
}

impl<T> Stream for Results<T> {
    type Item = Result<(u64, T), Error>;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(item) = self.next_of_chunk() {
                return Poll::Ready(Some(Ok(item)));
            }
            let Some(chunks) = &mut self.chunks else { return Poll::Ready(None) };
            let failure = match ready!(chunks.receiver.poll_recv(cx)) {
                Some(Decoded::Chunk { items, credit }) => {
                    self.chunk = items.into_iter();
                    self.credit = credit;
                    continue;
                }
                Some(Decoded::End) => None,
                Some(Decoded::Failed(error)) => Some(error),
                // The Tokio runtime of the decoder was shut down, but not the one of this reader.
                None => Some(Error::Closed),
            };
            self.finish();
            return Poll::Ready(failure.map(Err));
        }
    }
}

async fn decode_blocks<T: Data>(
    job: JobId,
    blocks: impl Stream<Item = Result<CreditedBlock, Error>>,
    chunks: mpsc::Sender<Decoded<T>>,
) {
    let mut blocks = std::pin::pin!(blocks);
    let outcome = loop {
        match blocks.next().await {
            Some(Ok(block)) => match decode_block(job, block, &chunks).await {
                Ok(()) => {}
                Err(Stop::ReaderGone) => return,
                Err(Stop::Failed(error)) => break Decoded::Failed(error),
            },
            Some(Err(error)) => break Decoded::Failed(error),
            None => break Decoded::End,
        }
    };
    // If the stream was dropped, the outcome is not needed.
    let _ = chunks.send(outcome).await;
}

enum Stop {
    ReaderGone,
    Failed(Error),
}

async fn decode_block<T: Data>(
    job: JobId,
    CreditedBlock { block, credit }: CreditedBlock,
    chunks: &mpsc::Sender<Decoded<T>>,
) -> Result<(), Stop> {
    let mut credit = Some(credit);
    let mut rest = Undecoded::new(job, block);
    while rest.len() > 0 {
        let mut items = Vec::with_capacity(CHUNK_ELEMENTS.min(rest.len()));
        let failure = rest
            .decode_chunk(|index, bytes| {
                items.push((index, codec::decode_front(bytes)?));
                Ok(ControlFlow::Continue(()))
            })
            .err();
        let is_last = rest.len() == 0 || failure.is_some();
        if !items.is_empty() {
            let credit = if is_last { credit.take() } else { None };
            let sent = chunks.send(Decoded::Chunk { items, credit }).await;
            sent.map_err(|_| Stop::ReaderGone)?;
        }
        if let Some(error) = failure {
            return Err(Stop::Failed(error));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures::{FutureExt, stream};

    use super::*;
    use crate::leader::{
        engine::{Indexes, OutputBlock},
        io::ReturnedCredit,
    };

    fn block(
        values: Bytes,
        count: u32,
        indexes: Indexes,
        returned: &Arc<ReturnedCredit>,
    ) -> Result<CreditedBlock, Error> {
        let returned = returned.clone();
        let credit = CreditGuard::new(JobId::new(), values.len(), returned);
        let block = OutputBlock { values, count, indexes, charged: 0 };
        Ok(CreditedBlock { block, credit })
    }

    fn numbers(range: std::ops::Range<u32>) -> Bytes {
        let mut bytes = Vec::new();
        for number in range {
            codec::encode_into(&number, &mut bytes).unwrap();
        }
        bytes.into()
    }

    fn credit_back(returned: &ReturnedCredit) -> usize {
        returned.take().iter().map(|(_, bytes)| bytes).sum()
    }

    #[tokio::test]
    async fn outputs_come_in_order_with_the_index_of_their_source() {
        let returned = Arc::default();
        let blocks = stream::iter([
            block(numbers(0..3), 3, Indexes::Range { first: 7 }, &returned),
            block(numbers(0..0), 0, Indexes::Range { first: 0 }, &returned),
            block(numbers(5..7), 2, Indexes::Each(vec![1, 1]), &returned),
        ]);
        let results = Results::<u32>::new(JobId::new(), blocks, None, Satisfied::default());
        let items = results.collect().await.unwrap();
        assert_eq!(items, [(7, 0), (8, 1), (9, 2), (1, 5), (1, 6)]);
    }

    #[tokio::test]
    async fn a_large_block_is_decoded_in_chunks_and_releases_its_credit_with_its_last_item() {
        let returned = Arc::default();
        let count = 3 * CHUNK_ELEMENTS as u32 + 1;
        let values = numbers(0..count);
        let bytes = values.len();
        let blocks = stream::iter([block(values, count, Indexes::Range { first: 0 }, &returned)])
            .chain(stream::pending());
        let mut results = Results::<u32>::new(JobId::new(), blocks, None, Satisfied::default());
        for number in 0..count {
            assert_eq!(credit_back(&returned), 0);
            assert_eq!(results.next().await.unwrap().unwrap(), (u64::from(number), number));
        }
        assert_eq!(credit_back(&returned), bytes);
        assert!(results.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_failure_is_the_last_item() {
        let returned = Arc::default();
        let job = JobId::new();
        let blocks = stream::iter([
            block(numbers(0..1), 1, Indexes::Range { first: 0 }, &returned),
            Err(Error::Cancelled { job }),
            block(numbers(1..2), 1, Indexes::Range { first: 1 }, &returned),
        ]);
        let mut results = Results::<u32>::new(job, blocks, None, Satisfied::default());
        assert_eq!(results.next().await.unwrap().unwrap(), (0, 0));
        assert!(matches!(results.next().await, Some(Err(Error::Cancelled { .. }))));
        assert!(results.next().await.is_none());
        assert!(results.next().await.is_none());
    }

    async fn decode_failure<T: Data>(values: Bytes, count: u32) -> (usize, u64, String) {
        let indexes = Indexes::Each((10..).take(count as usize).collect());
        let blocks = stream::iter([block(values, count, indexes, &Arc::default())]);
        let mut results = Results::<T>::new(JobId::new(), blocks, None, Satisfied::default());
        let mut good = 0;
        loop {
            match results.next().await {
                Some(Ok(_)) => good += 1,
                Some(Err(Error::Decode { index, reason, .. })) => return (good, index, reason),
                other => panic!("a decode error was expected, not {:?}", other.map(|r| r.is_ok())),
            }
        }
    }

    #[tokio::test]
    async fn an_output_that_does_not_decode_is_an_error_that_names_the_element() {
        let (good, index, _) = decode_failure::<u32>(numbers(0..2), 3).await;
        assert_eq!((good, index), (2, 12));
        let (good, index, reason) = decode_failure::<u32>(numbers(0..3), 2).await;
        assert_eq!((good, index, &reason[..]), (2, 11, "1 bytes are left over"));
    }

    #[derive(serde::Serialize)]
    struct Explosive;

    impl<'de> serde::Deserialize<'de> for Explosive {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("boom")
        }
    }

    #[tokio::test]
    async fn a_panicking_deserialize_fails_the_job_at_its_element() {
        let (good, index, reason) = decode_failure::<Explosive>(Bytes::new(), 1).await;
        assert_eq!((good, index), (0, 10));
        assert!(reason.contains("panicked"), "{reason}");
    }

    #[tokio::test]
    async fn a_decoder_that_dies_does_not_look_like_the_end() {
        let blocks = stream::once(async { panic!("the decoder dies") });
        let mut results = Results::<u32>::new(JobId::new(), blocks, None, Satisfied::default());
        assert!(matches!(results.next().await, Some(Err(Error::Closed))));
        assert!(results.next().await.is_none());
    }

    #[tokio::test]
    async fn a_take_ends_the_stream_and_releases_the_job() {
        let returned = Arc::default();
        let satisfied = Satisfied::default();
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        let blocks =
            stream::iter([block(numbers(0..9), 9, Indexes::Range { first: 0 }, &returned)])
                .chain(stream::pending())
                .map(move |block| {
                    let _held = &held;
                    block
                });
        let mut results = Results::<u32>::new(JobId::new(), blocks, Some(2), satisfied.clone());
        results.next().await.unwrap().unwrap();
        assert!(!satisfied.is_set());
        results.next().await.unwrap().unwrap();
        assert!(satisfied.is_set(), "dropping the job from here on is no mistake");
        assert_eq!(credit_back(&returned), 9);
        assert!(dropped.await.is_err());
        assert!(results.next().await.is_none());
    }
}
