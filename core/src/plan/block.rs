//! Where the input waits, encoded, until the leader makes tasks of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Notify;

use crate::codec::{self, CodecError};

/// Encoded elements, one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// Their encodings.
    pub bytes: Bytes,
    /// Where each of them ends in `bytes`.
    pub ends: Vec<u32>,
}

/// Shared between the source, which pushes, and the driver of the job, which takes.
///
/// The driver can take what is there while the source blocks in its `next`: the lock is held for
/// the encoding of elements, never for the making of one that may block.
#[derive(Debug, Default)]
pub struct BlockBuffer {
    inner: Mutex<Inner>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// Bytes and elements of the block before: this one will be about as large.
    expected: (usize, usize),
    /// Nobody will take any more.
    closed: bool,
}

impl Inner {
    fn end(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }
}

/// Why an element was not pushed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// Nobody will take it.
    #[error("the job is over")]
    Closed,
    /// It does not serialize.
    #[error("it does not serialize: {0}")]
    Codec(#[from] CodecError),
    /// It, with what waits before it, takes more than 4 GiB.
    #[error("its encoding is too large: a block holds 4 GiB")]
    TooLarge,
}

impl BlockBuffer {
    /// Encodes one element behind the others; gives the length of its encoding.
    ///
    /// # Errors
    /// When it does not serialize, or nobody would take it; the buffer is then as it was.
    #[inline]
    pub fn push<T: Serialize>(&self, value: &T) -> Result<usize, PushError> {
        self.open().push(value)
    }

    /// Keeps the driver out, to push many elements that need not be waited for.
    #[inline]
    pub(super) fn open(&self) -> OpenBlock<'_> {
        OpenBlock { inner: self.lock(), ready: &self.ready }
    }
    /// Takes all that is there, perhaps nothing.
    pub fn take(&self) -> Block {
        let mut inner = self.lock();
        inner.expected = (inner.bytes.len(), inner.ends.len());
        Block {
            bytes: std::mem::take(&mut inner.bytes).into(),
            ends: std::mem::take(&mut inner.ends),
        }
    }

    /// How many elements are there.
    pub fn len(&self) -> usize {
        self.lock().ends.len()
    }

    /// Whether none is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes their encodings take.
    pub fn bytes(&self) -> usize {
        self.lock().end()
    }

    /// Resolves when an element has arrived in the empty buffer, or the source has come to the end
    /// of its budget or input, since the last call.
    ///
    /// Cancel-safe: dropped, it leaves its wake-up to the next call. For one waiter at a time.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }

    pub(super) fn wake(&self) {
        self.ready.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    /// The user's `Serialize` runs under the lock and may panic; what it left behind the last end
    /// is cut off here, so that nobody sees it.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| self.recover(poisoned))
    }

    #[cold]
    fn recover<'a>(&self, poisoned: PoisonError<MutexGuard<'a, Inner>>) -> MutexGuard<'a, Inner> {
        self.inner.clear_poison();
        let mut inner = PoisonError::into_inner(poisoned);
        let end = inner.end();
        inner.bytes.truncate(end);
        inner
    }
}

/// The buffer while nobody else may look at it.
pub(super) struct OpenBlock<'a> {
    inner: MutexGuard<'a, Inner>,
    ready: &'a Notify,
}

impl OpenBlock<'_> {
    /// As [`BlockBuffer::push`].
    #[inline]
    pub(super) fn push<T: Serialize>(&mut self, value: &T) -> Result<usize, PushError> {
        let inner = &mut *self.inner;
        if inner.closed {
            return Err(PushError::Closed);
        }
        if inner.ends.is_empty() {
            let (bytes, ends) = inner.expected;
            inner.bytes.reserve(bytes);
            inner.ends.reserve(ends);
        }
        let before = inner.bytes.len();
        codec::encode_into(value, &mut inner.bytes)?;
        let after = inner.bytes.len();
        let Ok(end) = u32::try_from(after) else {
            inner.bytes.truncate(before);
            return Err(PushError::TooLarge);
        };
        inner.ends.push(end);
        if inner.ends.len() == 1 {
            self.ready.notify_one();
        }
        Ok(after - before)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Serializer, ser::SerializeTuple};

    use super::*;

    #[test]
    fn a_block_holds_what_was_pushed_since_the_last() {
        let buffer = BlockBuffer::default();
        buffer.push(&"ab").unwrap();
        buffer.push(&"").unwrap();
        assert_eq!((buffer.len(), buffer.bytes()), (2, 4));
        let block = buffer.take();
        assert_eq!((&block.bytes[..], &block.ends[..]), (&b"\x02ab\x00"[..], &[3, 4][..]));
        assert_eq!(buffer.push(&"c"), Ok(2));
        assert_eq!(buffer.take().ends, [2]);
        assert_eq!(buffer.take(), Block::default());
    }

    #[test]
    fn a_closed_buffer_takes_nothing() {
        let buffer = BlockBuffer::default();
        buffer.close();
        assert_eq!(buffer.push(&1), Err(PushError::Closed));
    }

    struct PanicsHalfway;

    impl Serialize for PanicsHalfway {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_tuple(2)?.serialize_element(&7u8)?;
            panic!("halfway");
        }
    }

    #[test]
    fn what_panics_halfway_leaves_no_trace() {
        let buffer = BlockBuffer::default();
        buffer.push(&1u8).unwrap();
        let push = std::panic::AssertUnwindSafe(|| buffer.push(&PanicsHalfway));
        std::panic::catch_unwind(push).unwrap_err();
        buffer.push(&2u8).unwrap();
        let block = buffer.take();
        assert_eq!((&block.bytes[..], &block.ends[..]), (&[1, 2][..], &[1, 2][..]));
    }
}
