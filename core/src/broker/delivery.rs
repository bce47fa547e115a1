//! One message handed to one consumer.

use std::{fmt, sync::Arc};

use super::Message;

/// What to do with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settle {
    /// It was answered: the answer is with the broker.
    Ack,
    /// Nobody to answer: to the dead-letter queue.
    Reject,
    /// Nothing can be published: somebody else must take it.
    Requeue,
}

/// Settles the deliveries of one consumer. Implemented by brokers.
pub trait Settler: Send + Sync {
    /// Settles the delivery with this tag. A tag of an earlier connection is a no-op: the broker
    /// has taken the delivery back already.
    fn settle(&self, tag: u64, settle: Settle);
}

/// One message handed to one consumer; must be settled exactly once.
#[must_use = "a delivery must be settled"]
pub struct Delivery {
    /// What came.
    pub message: Message,
    /// Whether the broker has handed it out before. Such a delivery is never executed.
    pub redelivered: bool,
    tag: u64,
    settler: Option<Arc<dyn Settler>>,
}

impl Delivery {
    /// A delivery with the tag by which its settler knows it.
    pub fn new(message: Message, redelivered: bool, tag: u64, settler: Arc<dyn Settler>) -> Self {
        Self { message, redelivered, tag, settler: Some(settler) }
    }

    /// Settles it. Never blocks; the broker hears of it soon.
    pub fn settle(mut self, settle: Settle) {
        if let Some(settler) = self.settler.take() {
            settler.settle(self.tag, settle);
        }
    }
}

impl Drop for Delivery {
    /// A delivery that somebody forgot (or that a panic dropped) goes back to the broker, so that
    /// it cannot be stuck until the worker ends.
    fn drop(&mut self) {
        if let Some(settler) = self.settler.take() {
            tracing::warn!(tag = self.tag, "delivery dropped without being settled");
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

/// What a consumer yields.
#[derive(Debug)]
pub enum Consumption {
    /// A delivery.
    Delivery(Delivery),
    /// The consumer was interrupted and is back: what was unsettled has been taken back by the
    /// broker, and what was in the queue may be lost.
    Resumed {
        /// The connection's generation from now on.
        generation: u64,
    },
}
