//! The input of a job: an iterator or a stream.

use std::{
    any::TypeId,
    error::Error as StdError,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use futures::Stream;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeTuple};
use tokio::sync::{mpsc, oneshot};

use super::{
    BlockBuffer, Budget,
    pump::{
        BoxError, Fill, Filled, Flow, InputFault, IteratorPump, Pump, SizeHint, StreamPump,
        is_in_memory,
    },
};
use crate::{
    codec::{Known, Layout},
    operation::Data,
    paused_clock::Computing,
};

/// The input of a job: an iterator or a stream, with its type erased.
///
/// Pulled lazily, by [`fill`](Self::fill). Once it is started, the iterator or stream lives on a
/// thread or task of its own, and is dropped there when this is dropped.
pub(crate) struct Source {
    input: Input,
    /// How many elements have been pulled.
    pulled: u64,
    /// How many elements may be pulled in total.
    limit: u64,
    /// How the first stage reads the elements.
    layout: Layout,
}

/// Where the iterator or stream is.
enum Input {
    Waiting(Box<dyn Pump>),
    Started {
        fills: mpsc::Sender<Fill>,
        hint: SizeHint,
        is_blocking: bool,
    },
    /// It could not be started.
    Broken(io::Error),
    /// It has ended or failed.
    Ended,
}

/// The state of a source after a fill.
#[derive(Debug)]
pub(crate) enum SourceState {
    /// The budget is used up; there may be more.
    More,
    /// There are no more elements.
    Ended,
    /// The input failed, so there are no more elements.
    Failed {
        /// The error, and the element at which it occurred.
        error: SourceError,
    },
}

/// An input that failed.
#[derive(Debug, thiserror::Error)]
#[error("the input failed at element {index}")]
pub(crate) struct SourceError {
    /// The index of the element that was not produced.
    pub(crate) index: u64,
    /// The error of the input.
    #[source]
    pub(crate) source: Box<dyn StdError + Send + Sync>,
}

/// An encoding that serializes to itself: postcard writes nothing between the bytes of a tuple.
struct Encoded(Bytes);

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = serializer.serialize_tuple(self.0.len())?;
        for byte in &self.0 {
            bytes.serialize_element(byte)?;
        }
        bytes.end()
    }
}

/// Only a type that can be read is [`Data`]; this one is read as what it encodes.
impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("an encoding has no encoding of its own"))
    }
}

impl Source {
    pub(super) fn from_iter<I, T>(iterator: I) -> Self
    where
        I: Iterator<Item = Result<T, BoxError>> + Send + 'static,
        T: Data,
    {
        Self::new(Box::new(IteratorPump::new(iterator, false)))
    }

    /// A source of the elements of an iterator that cannot fail.
    pub(super) fn from_elements<I>(elements: I) -> Self
    where
        I: Iterator<Item: Data> + Send + 'static,
    {
        Self::new(Box::new(IteratorPump::new(elements.map(Ok), is_in_memory::<I>())))
    }

    /// A source of elements that are already encoded.
    pub(crate) fn from_encoded(elements: Vec<Bytes>) -> Self {
        // It was checked when it was encoded.
        Known::learn(TypeId::of::<Encoded>(), true, []);
        Self::from_elements(elements.into_iter().map(Encoded))
    }

    pub(super) fn from_stream<S, T>(stream: S) -> Self
    where
        S: Stream<Item = Result<T, BoxError>> + Send + 'static,
        T: Data,
    {
        Self::new(Box::new(StreamPump::new(stream)))
    }

    fn new(pump: Box<dyn Pump>) -> Self {
        let input = Input::Waiting(pump);
        Self { input, pulled: 0, limit: u64::MAX, layout: Layout::Plain }
    }

    /// Ends the source after `count` elements.
    pub(super) fn limit(&mut self, count: u64) {
        self.limit = self.limit.min(count);
    }

    /// Whether its size hint says that it never ends.
    pub(super) fn is_endless(&self) -> bool {
        matches!(self.size_hint(), (least, None) if least >= usize::MAX as u64)
    }

    pub(super) fn set_layout(&mut self, layout: Layout) {
        self.layout = layout;
    }

    /// How elements are to be encoded.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// The least and the most remaining elements, by the size hint of the input.
    pub(crate) fn size_hint(&self) -> (u64, Option<u64>) {
        let (least, most) = match &self.input {
            Input::Waiting(pump) => hint_of(&**pump),
            Input::Started { hint, .. } => *hint,
            Input::Broken(_) | Input::Ended => return (0, Some(0)),
        };
        let left = self.limit - self.pulled;
        let most = most.map_or(u64::MAX, |most| most as u64).min(left);
        ((least as u64).min(left), (most < u64::MAX).then_some(most))
    }

    /// Moves the iterator or stream to a thread or task of its own. Must be called within a Tokio
    /// runtime.
    pub(crate) fn start(&mut self) {
        self.input = match std::mem::replace(&mut self.input, Input::Ended) {
            Input::Waiting(pump) => {
                let (fills, received) = mpsc::channel(1);
                let (hint, is_blocking) = (hint_of(&*pump), pump.is_blocking());
                match pump.start(received) {
                    Ok(()) => Input::Started { fills, hint, is_blocking },
                    Err(error) => Input::Broken(error),
                }
            }
            other => other,
        };
    }

    /// Pulls elements into `buffer` until the budget is used up or the input ends.
    ///
    /// A panic of the input is returned as [`SourceState::Failed`]. Dropping the future drops the
    /// source: a stream at its next poll, an iterator when its `next` returns.
    pub(crate) async fn fill(
        mut self,
        buffer: Arc<BlockBuffer>,
        budget: Budget,
    ) -> (Self, SourceState) {
        self.start();
        let left = self.limit - self.pulled;
        let (fills, is_blocking) = match std::mem::replace(&mut self.input, Input::Ended) {
            Input::Started { fills, is_blocking, .. } if left > 0 => (fills, is_blocking),
            Input::Broken(error) => {
                let source = InputFault::Thread(error).into();
                let error = SourceError { index: self.pulled, source };
                return (self, SourceState::Failed { error });
            }
            _ => return (self, SourceState::Ended),
        };
        let budget = Budget { elements: budget.elements.min(left), ..budget };
        let mut guard = CloseOnDrop { buffer: Some(buffer.clone()) };
        // A stream may wait for a timer of the clock.
        let computing = if is_blocking { Computing::begin() } else { None };
        let (done, filled) = oneshot::channel();
        // Fails if the task of a stream has ended, with Tokio; then nothing is received.
        let _ = fills.send(Fill { buffer: buffer.clone(), budget, done }).await;
        let filled = filled.await.unwrap_or_else(|_| Filled {
            outcome: Err(InputFault::Shutdown.into()),
            pushed: 0,
            hint: (0, Some(0)),
        });
        drop(computing);
        guard.buffer = None;
        self.pulled += filled.pushed;
        let state = match filled.outcome {
            Ok(Flow::More) => {
                self.input = Input::Started { fills, hint: filled.hint, is_blocking };
                match self.pulled < self.limit {
                    true => SourceState::More,
                    false => SourceState::Ended,
                }
            }
            Ok(Flow::Ended) => SourceState::Ended,
            Err(source) => {
                SourceState::Failed { error: SourceError { index: self.pulled, source } }
            }
        };
        buffer.wake();
        (self, state)
    }
}

/// The hint is computed by the user's code; a panic there must not fail the job.
fn hint_of(pump: &dyn Pump) -> SizeHint {
    catch_unwind(AssertUnwindSafe(|| pump.size_hint())).unwrap_or((0, None))
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("pulled", &self.pulled)
            .field("ended", &matches!(self.input, Input::Ended))
            .finish_non_exhaustive()
    }
}

/// Closes the buffer when a fill is dropped: the iterator cannot be interrupted, and its next push
/// ends it.
struct CloseOnDrop {
    buffer: Option<Arc<BlockBuffer>>,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(buffer) = &self.buffer {
            buffer.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::StreamExt;

    use super::*;
    use crate::codec;

    const PLENTY: Budget = Budget { elements: 1 << 20, bytes: 1 << 20 };

    async fn fill(source: Source, budget: Budget) -> (Source, SourceState, Vec<u8>) {
        let buffer = Arc::new(BlockBuffer::default());
        let (source, state) = source.fill(buffer.clone(), budget).await;
        (source, state, buffer.take().bytes.to_vec())
    }

    fn bytes(count: u8) -> impl Iterator<Item = Result<u8, BoxError>> + Send + 'static {
        (0..count).map(Ok)
    }

    fn failure(state: SourceState) -> (u64, String) {
        match state {
            SourceState::Failed { error } => (error.index, error.source.to_string()),
            other => panic!("expected a failure, got {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_source_yields_as_much_as_its_budget_allows_and_then_the_rest() {
        for source in
            [Source::from_iter(bytes(5)), Source::from_stream(futures::stream::iter(bytes(5)))]
        {
            assert_eq!(source.size_hint(), (5, Some(5)));
            let (source, state, got) = fill(source, Budget { elements: 2, ..PLENTY }).await;
            assert!(matches!(state, SourceState::More));
            assert_eq!((got, source.size_hint()), (vec![0, 1], (3, Some(3))));
            let (source, state, got) = fill(source, Budget { bytes: 1, ..PLENTY }).await;
            assert!(matches!(state, SourceState::More));
            assert_eq!(got, [2]);
            let (source, state, got) = fill(source, PLENTY).await;
            assert!(matches!(state, SourceState::Ended));
            assert_eq!((got, source.size_hint()), (vec![3, 4], (0, Some(0))));
        }
    }

    #[tokio::test]
    async fn an_input_in_memory_keeps_to_the_budget_and_fails_at_the_same_element() {
        let source = Source::from_elements(0..5u8);
        let (source, state, got) = fill(source, Budget { elements: 2, ..PLENTY }).await;
        assert!(matches!(state, SourceState::More));
        assert_eq!((got, source.size_hint()), (vec![0, 1], (3, Some(3))));
        let (source, state, got) = fill(source, Budget { bytes: 1, ..PLENTY }).await;
        assert!(matches!(state, SourceState::More));
        assert_eq!(got, [2]);
        let (_, state, got) = fill(source, PLENTY).await;
        assert!(matches!(state, SourceState::Ended));
        assert_eq!(got, [3, 4]);

        let source = Source::from_elements((0..5000u16).collect::<Vec<_>>().into_iter());
        let (_, state, got) = fill(source, PLENTY).await;
        assert!(matches!(state, SourceState::Ended));
        let mut whole = Vec::new();
        (0..5000u16).for_each(|number| codec::encode_into(&number, &mut whole).unwrap());
        assert_eq!(got, whole);

        let source = Source::from_elements(vec![Some(1u8), None].into_iter().map(Demanding));
        let (_, state, got) = fill(source, PLENTY).await;
        assert_eq!((got, failure(state).0), (vec![1], 1));
        let demanding = vec![Demanding(Some(1)), Demanding(None)];
        let (_, state, got) = fill(Source::from_elements(demanding.into_iter()), PLENTY).await;
        assert_eq!((got, failure(state).0), (vec![1], 1));
    }

    /// Does not serialize without a number.
    #[derive(Deserialize)]
    #[serde(from = "u8")]
    struct Demanding(Option<u8>);

    impl From<u8> for Demanding {
        fn from(number: u8) -> Self {
            Self(Some(number))
        }
    }

    impl Serialize for Demanding {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let number = self.0.ok_or_else(|| serde::ser::Error::custom("no number"))?;
            serializer.serialize_u8(number)
        }
    }

    #[tokio::test]
    async fn an_element_larger_than_the_budget_is_taken_alone() {
        let source = Source::from_iter([vec![7u8; 100], vec![8; 100]].into_iter().map(Ok));
        let (source, state, got) = fill(source, Budget { bytes: 10, ..PLENTY }).await;
        assert!(matches!(state, SourceState::More));
        assert_eq!((got.len(), source.size_hint()), (101, (1, Some(1))));
    }

    #[tokio::test]
    async fn a_limit_ends_an_endless_source_and_pulls_no_further_elements() {
        let (pulled, seen) = mpsc::channel();
        let endless = std::iter::repeat_with(move || {
            pulled.send(()).unwrap();
            Ok(1u8)
        });
        let mut source = Source::from_iter(endless);
        source.limit(3);
        assert_eq!(source.size_hint(), (3, Some(3)));
        let (source, state, got) = fill(source, PLENTY).await;
        assert!(matches!(state, SourceState::Ended));
        assert_eq!(got, [1, 1, 1]);
        assert!(matches!(fill(source, PLENTY).await.1, SourceState::Ended));
        assert_eq!(seen.try_iter().count(), 3);
    }

    #[tokio::test]
    async fn a_failure_names_its_element_and_keeps_the_elements_before_it() {
        let input = || [Ok(4u8), Err("no such file".into()), Ok(5)].into_iter();
        for source in
            [Source::from_iter(input()), Source::from_stream(futures::stream::iter(input()))]
        {
            let (source, state, got) = fill(source, PLENTY).await;
            assert_eq!((failure(state), got), ((1, "no such file".to_owned()), vec![4]));
            assert!(matches!(fill(source, PLENTY).await.1, SourceState::Ended));
        }
    }

    #[tokio::test]
    async fn a_panic_in_the_input_is_a_failure_of_the_input() {
        let input = || (0..3u8).map(|n| if n == 2 { panic!("at {n}") } else { Ok(n) });
        for source in
            [Source::from_iter(input()), Source::from_stream(futures::stream::iter(input()))]
        {
            let (_, state, got) = fill(source, PLENTY).await;
            assert_eq!(
                (failure(state), got),
                ((2, "the input panicked: at 2".to_owned()), vec![0, 1])
            );
        }
    }

    #[tokio::test]
    async fn an_element_that_does_not_serialize_is_named() {
        #[derive(Deserialize)]
        struct Mute;
        impl Serialize for Mute {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("mute"))
            }
        }
        let (_, state, _) = fill(Source::from_iter(std::iter::once(Ok(Mute))), PLENTY).await;
        let (index, reason) = failure(state);
        assert!(index == 0 && reason.contains("does not serialize"), "{reason}");
    }

    #[tokio::test]
    async fn elements_can_be_taken_while_the_iterator_blocks() {
        let (feed, fed) = mpsc::channel::<u8>();
        let buffer = Arc::new(BlockBuffer::default());
        let source = Source::from_iter(fed.into_iter().map(Ok));
        let filling = tokio::spawn(source.fill(buffer.clone(), PLENTY));
        feed.send(9).unwrap();
        buffer.ready().await;
        assert_eq!(buffer.take().ends, [1]);
        drop(feed);
        assert!(matches!(filling.await.unwrap().1, SourceState::Ended));
        buffer.ready().await;
    }

    /// Fails the test instead of letting it hang.
    async fn soon<F: Future>(future: F) -> F::Output {
        let patience = std::time::Duration::from_secs(10);
        tokio::time::timeout(patience, future).await.expect("timed out")
    }

    #[tokio::test]
    async fn a_dropped_fill_drops_the_source() {
        let (feed, fed) = mpsc::channel::<u8>();
        let (gone, dropped) = tokio::sync::oneshot::channel::<()>();
        let input = fed.into_iter().map(move |n| {
            let _held = &gone;
            Ok(n)
        });
        let buffer = Arc::new(BlockBuffer::default());
        let mut filling = Box::pin(Source::from_iter(input).fill(buffer.clone(), PLENTY));
        feed.send(1).unwrap();
        tokio::select! {
            _ = &mut filling => panic!("the input has not ended"),
            () = buffer.ready() => {}
        }
        drop(filling);
        feed.send(2).unwrap();
        assert!(soon(dropped).await.is_err());

        let (gone, dropped) = tokio::sync::oneshot::channel::<()>();
        let input = futures::stream::pending::<Result<u8, BoxError>>().map(move |item| {
            let _held = &gone;
            item
        });
        let mut filling = Box::pin(Source::from_stream(input).fill(buffer, PLENTY));
        assert!(futures::poll!(&mut filling).is_pending());
        drop(filling);
        assert!(soon(dropped).await.is_err());
    }
}
