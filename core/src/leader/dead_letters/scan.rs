//! Looks through the messages of one queue without taking them out of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::{DeadLetterEntry, DeadLetterError};
use crate::broker::{
    Broker, BrokerError, Consumer, Consumption, Delivery, Message, Pool, QueueSpec, Settle,
};

/// A message that the broker counts and does not hand out for so long is not there: it was too old,
/// or somebody else looks at it.
const SILENCE: Duration = Duration::from_secs(3);
/// How long to wait until the broker counts what was given back to it.
const COUNTING: Duration = Duration::from_secs(2);

/// The messages of one queue, held one after the other.
pub(super) struct Scan {
    broker: Arc<dyn Broker>,
    pool: Pool,
    consumer: Box<dyn Consumer>,
    /// How many to look at.
    left: u16,
    /// How many there were.
    total: u64,
    /// What was looked at and stays, without the bodies.
    held: Vec<Delivery>,
    removed: u64,
}

impl Scan {
    pub(super) async fn start(
        broker: Arc<dyn Broker>,
        pool: Pool,
        limit: u16,
    ) -> Result<Self, DeadLetterError> {
        let queue = QueueSpec::Dead { pool: pool.clone() };
        let failed = |source| DeadLetterError::Broker { pool: pool.clone(), source };
        let total = broker.declare(&queue).await.map_err(failed)?.messages;
        let left = limit.min(u16::try_from(total).unwrap_or(u16::MAX));
        let consumer = broker.consume(&queue, left.max(1)).await.map_err(failed)?;
        Ok(Self { broker, pool, consumer, left, total, held: Vec::new(), removed: 0 })
    }

    /// The next message and its body; `None` at the end.
    pub(super) async fn next(
        &mut self,
    ) -> Result<Option<(DeadLetterEntry, Bytes)>, DeadLetterError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        match timeout(SILENCE, self.consumer.next()).await {
            Err(_) => {
                self.left = 0;
                Ok(None)
            }
            Ok(Some(Consumption::Delivery(mut delivery))) => {
                let entry = DeadLetterEntry::read(&delivery.message);
                let empty = Message { properties: Default::default(), body: Bytes::new() };
                let message = std::mem::replace(&mut delivery.message, empty);
                self.held.push(delivery);
                Ok(Some((entry, message.body)))
            }
            Ok(other) => {
                // What was held is the broker's again.
                self.held.drain(..).for_each(|delivery| delivery.settle(Settle::Requeue));
                let source = match other {
                    None => BrokerError::Closed,
                    Some(_) => BrokerError::Lost {
                        reason: "it was interrupted while the letters were looked through"
                            .to_owned(),
                    },
                };
                Err(DeadLetterError::Broker { pool: self.pool.clone(), source })
            }
        }
    }

    /// Takes the message that came last out of the queue.
    pub(super) fn remove_last(&mut self) {
        if let Some(delivery) = self.held.pop() {
            delivery.settle(Settle::Ack);
            self.removed += 1;
        }
    }

    /// Gives all back.
    pub(super) async fn finish(mut self) {
        self.give_back().await;
    }

    /// Gives all back but the message that came last.
    pub(super) async fn finish_but_last(mut self) -> Held {
        let last = self.held.pop();
        self.removed += 1;
        self.give_back().await;
        Held { last, broker: Arc::clone(&self.broker), pool: self.pool.clone() }
    }

    async fn give_back(&mut self) {
        self.consumer.cancel().await;
        // What came last goes first, so that each comes to stand before those behind it.
        while let Some(delivery) = self.held.pop() {
            delivery.settle(Settle::Requeue);
        }
        counted(&*self.broker, &self.pool, self.total - self.removed.min(self.total)).await;
    }
}

/// Dropped half-way, it gives back what it holds.
impl Drop for Scan {
    fn drop(&mut self) {
        while let Some(delivery) = self.held.pop() {
            delivery.settle(Settle::Requeue);
        }
    }
}

/// A message that nobody else sees.
pub(super) struct Held {
    last: Option<Delivery>,
    broker: Arc<dyn Broker>,
    pool: Pool,
}

impl Held {
    /// Removes it or gives it back.
    pub(super) async fn settle(mut self, remove: bool) {
        let Some(delivery) = self.last.take() else { return };
        if remove {
            return delivery.settle(Settle::Ack);
        }
        delivery.settle(Settle::Requeue);
        counted(&*self.broker, &self.pool, 1).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(delivery) = self.last.take() {
            delivery.settle(Settle::Requeue);
        }
    }
}

/// Waits until the broker counts so many messages: whoever looks next finds what was given back.
async fn counted(broker: &dyn Broker, pool: &Pool, messages: u64) {
    let queue = QueueSpec::Dead { pool: pool.clone() };
    let until = Instant::now() + COUNTING;
    while Instant::now() < until {
        match broker.declare(&queue).await {
            Ok(declared) if declared.messages < messages => {
                sleep(Duration::from_millis(5)).await;
            }
            _ => return,
        }
    }
}
