//! The encoded input of a job, until the leader cuts tasks from it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    codec::{self, CodecError, Known, Layout},
    operation::Data,
};

/// Encoded elements, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Block {
    /// The encodings of all elements.
    pub(crate) bytes: Bytes,
    /// The end of each element in `bytes`.
    pub(crate) ends: Vec<u32>,
}

/// Encoded elements on their way from the source, which pushes, to the driver of the job, which
/// takes.
///
/// The driver can take elements while the source blocks in its `next`: the lock is held while
/// elements are encoded, never while a source that may block makes one.
#[derive(Debug, Default)]
pub(crate) struct BlockBuffer {
    inner: Mutex<Inner>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// What is known about the type of the elements; looked up with the first.
    known: Option<Arc<Known>>,
    /// Bytes and elements of the previous block: this one will be about as large.
    expected: (usize, usize),
    layout: Layout,
    /// Set when the job is over; further pushes are rejected.
    closed: bool,
}

impl Inner {
    fn end(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }
}

/// How much to pull from a source. The element that exceeds `bytes` is still taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// The most elements to pull.
    pub(crate) elements: u64,
    /// The encoded bytes after which no further element is pulled.
    pub(crate) bytes: usize,
}

/// Why an element was not pushed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PushError {
    /// The job no longer accepts elements.
    #[error("the job is over")]
    Closed,
    /// The element does not serialize.
    #[error("it does not serialize: {0}")]
    Codec(#[from] CodecError),
    /// The block with this element would exceed 4 GiB.
    #[error("its encoding is too large: a block holds at most 4 GiB")]
    TooLarge,
}

impl BlockBuffer {
    /// A buffer whose elements have this layout.
    pub(crate) fn with(layout: Layout) -> Self {
        let inner = Inner { layout, ..Inner::default() };
        Self { inner: Mutex::new(inner), ready: Notify::default() }
    }

    /// Appends one encoded element and returns the length of its encoding in bytes.
    ///
    /// # Errors
    /// If the element does not serialize, the block is full or the job is over; the buffer is then
    /// unchanged.
    #[inline]
    pub(crate) fn push<T: Data>(&self, value: &T) -> Result<usize, PushError> {
        self.open().push(value)
    }

    /// Locks the buffer once, to push many elements that are available without waiting.
    #[inline]
    pub(super) fn open(&self) -> OpenBlock<'_> {
        OpenBlock { inner: self.lock(), ready: &self.ready }
    }

    /// Takes all elements; the block may be empty.
    pub(crate) fn take(&self) -> Block {
        let mut inner = self.lock();
        inner.expected = (inner.bytes.len(), inner.ends.len());
        Block {
            bytes: std::mem::take(&mut inner.bytes).into(),
            ends: std::mem::take(&mut inner.ends),
        }
    }

    /// Resolves when, since the last call, an element has arrived in the empty buffer or the source
    /// has reached the end of its budget or input.
    ///
    /// Cancel-safe: a dropped future leaves its wake-up to the next call. For one waiter at a time.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    pub(super) fn wake(&self) {
        self.ready.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    /// The user's `Serialize` runs under the lock and may panic. The bytes that it wrote after the
    /// last end are cut off here, so that no block contains them.
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

/// The locked buffer.
pub(super) struct OpenBlock<'a> {
    inner: MutexGuard<'a, Inner>,
    ready: &'a Notify,
}

impl OpenBlock<'_> {
    /// As [`BlockBuffer::push`].
    #[inline]
    pub(super) fn push<T: Data>(&mut self, value: &T) -> Result<usize, PushError> {
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
        let known = inner.known.get_or_insert_with(Known::of::<T>);
        let layout = inner.layout;
        let appended = codec::append(value, &mut inner.bytes, known);
        let framed =
            appended.and_then(|first| codec::frame(&mut inner.bytes, before, first, layout));
        if let Err(error) = framed {
            inner.bytes.truncate(before);
            return Err(error.into());
        }
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
    use serde::{Deserialize, Serialize, Serializer, ser::SerializeTuple};

    use super::*;

    #[test]
    fn a_block_holds_the_elements_pushed_since_the_previous_block() {
        let buffer = BlockBuffer::default();
        buffer.push(&"ab".to_owned()).unwrap();
        buffer.push(&String::new()).unwrap();
        let block = buffer.take();
        assert_eq!((&block.bytes[..], &block.ends[..]), (&b"\x02ab\x00"[..], &[3, 4][..]));
        assert_eq!(buffer.push(&"c".to_owned()), Ok(2));
        assert_eq!(buffer.take().ends, [2]);
        assert_eq!(buffer.take(), Block::default());
    }

    #[test]
    fn a_closed_buffer_rejects_elements() {
        let buffer = BlockBuffer::default();
        buffer.close();
        assert_eq!(buffer.push(&1), Err(PushError::Closed));
    }

    #[derive(Deserialize)]
    struct PanicsHalfway;

    impl Serialize for PanicsHalfway {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_tuple(2)?.serialize_element(&7u8)?;
            panic!("halfway");
        }
    }

    #[test]
    fn an_element_that_panics_halfway_leaves_no_bytes() {
        let buffer = BlockBuffer::default();
        buffer.push(&1u8).unwrap();
        let push = std::panic::AssertUnwindSafe(|| buffer.push(&PanicsHalfway));
        std::panic::catch_unwind(push).unwrap_err();
        buffer.push(&2u8).unwrap();
        let block = buffer.take();
        assert_eq!((&block.bytes[..], &block.ends[..]), (&[1, 2][..], &[1, 2][..]));
    }
}
