//! Deliveries: messages that a broker has handed to a consumer.

use std::{fmt, sync::Arc};

use super::Message;

/// How a delivery is settled: by an ack, a reject or a requeue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settle {
    /// Removes the message. If the message needs a reply, the broker has confirmed it.
    Ack,
    /// Moves the message to the dead-letter queue, because it cannot be read or replied to.
    Reject,
    /// Puts the message back into its queue, for another consumer.
    Requeue,
}

/// Settles the deliveries of one consumer. Implemented by brokers; see [`Delivery`].
pub trait Settler: Send + Sync {
    /// Settles the delivery with this tag; must not block. Does nothing for a tag of an earlier
    /// connection: the broker has requeued that delivery already.
    fn settle(&self, tag: u64, settle: Settle);
}

/// A message that a broker has handed to a consumer. It must be settled exactly once.
///
/// A delivery that is dropped unsettled is requeued, so that it cannot be stuck until its consumer
/// ends.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use phalanx::broker::{Delivery, Message, Properties, Settle, Settler};
///
/// /// Records what a real broker would send over its connection.
/// #[derive(Default)]
/// struct Record(Mutex<Vec<(u64, Settle)>>);
///
/// impl Settler for Record {
///     fn settle(&self, tag: u64, settle: Settle) {
///         self.0.lock().unwrap().push((tag, settle));
///     }
/// }
///
/// let record = Arc::new(Record::default());
/// let message = || Message { properties: Properties::default(), body: Default::default() };
/// Delivery::new(message(), false, 1, record.clone()).settle(Settle::Ack);
/// drop(Delivery::new(message(), false, 2, record.clone()));
/// assert_eq!(*record.0.lock().unwrap(), [(1, Settle::Ack), (2, Settle::Requeue)]);
/// ```
#[must_use = "a delivery must be settled"]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Whether the broker has delivered the message before. Workers never run such a task: it may
    /// have killed the worker that had it.
    pub redelivered: bool,
    tag: u64,
    settler: Option<Arc<dyn Settler>>,
}

impl Delivery {
    /// A delivery; `tag` identifies it to its settler.
    pub fn new(message: Message, redelivered: bool, tag: u64, settler: Arc<dyn Settler>) -> Self {
        Self { message, redelivered, tag, settler: Some(settler) }
    }

    /// Settles the delivery. Never blocks; the broker is notified soon afterwards.
    pub fn settle(mut self, settle: Settle) {
        if let Some(settler) = self.settler.take() {
            settler.settle(self.tag, settle);
        }
    }

    /// Takes the message out, and leaves it unsettled until the consumer is dropped, which requeues
    /// it. Until then it counts towards the prefetch.
    ///
    /// For readers that must not remove what they have read. A consumer that was
    /// [cancelled](super::Consumer::cancel) waits until all its deliveries are settled, so its
    /// messages would stay unsettled until the connection ends.
    pub fn leave(mut self) -> Message {
        self.settler = None;
        let empty = Message { properties: Default::default(), body: Default::default() };
        std::mem::replace(&mut self.message, empty)
    }
}

impl Drop for Delivery {
    /// Requeues a delivery that was dropped unsettled, for example by a panic.
    fn drop(&mut self) {
        if let Some(settler) = self.settler.take() {
            tracing::warn!(tag = self.tag, "a delivery was dropped unsettled; requeueing it");
            settler.settle(self.tag, Settle::Requeue);
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("tag", &self.tag)
            .field("redelivered", &self.redelivered)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// An item that a [`Consumer`](super::Consumer) yields.
#[derive(Debug)]
pub enum Consumption {
    /// A message.
    Delivery(Delivery),
    /// The consumer has resumed after a lost connection. The broker has requeued its unsettled
    /// deliveries, and messages in the queue may have been lost.
    Resumed {
        /// The generation of the new connection; see [`Health`](super::Health).
        generation: u64,
    },
}
