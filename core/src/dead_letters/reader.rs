//! Reads the messages of a dead-letter queue, and requeues those that are not deleted.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::{DeadLetterEntry, DeadLetterError};
use crate::broker::{
    Broker, BrokerError, ConsumeOptions, Consumer, Consumption, Delivery, Message, Pool, QueueSpec,
    Settle,
};

/// The time to wait for a message that the broker has counted. One that is not delivered by then
/// has expired, or another program reads it.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(3);
/// The most messages that are delivered ahead: each can be as large as the broker's limit.
const AHEAD: u16 = 64;
/// The time to wait until the broker counts the messages that were requeued.
const RECOUNT_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads the messages of one queue, and holds them unsettled meanwhile.
pub(super) struct Reader {
    broker: Arc<dyn Broker>,
    pool: Pool,
    consumer: Box<dyn Consumer>,
    /// The number of messages to read.
    left: u16,
    /// The prefetch: the messages that are held, and those delivered ahead.
    prefetch: u16,
    /// The number of messages that the broker counted but did not deliver.
    unseen: u16,
    /// The number of messages in the queue at the start.
    total: u64,
    /// The deliveries that were read and stay in the queue, without their bodies.
    held: Vec<Delivery>,
    deleted: u64,
}

impl Reader {
    pub(super) async fn start(
        broker: Arc<dyn Broker>,
        pool: Pool,
        limit: u16,
    ) -> Result<Self, DeadLetterError> {
        let queue = QueueSpec::Dead { pool: pool.clone() };
        let failed = |source| DeadLetterError::Broker { pool: pool.clone(), source };
        let total = broker.declare(&queue).await.map_err(failed)?.messages;
        let left = limit.min(u16::try_from(total).unwrap_or(u16::MAX));
        let prefetch = left.clamp(1, AHEAD);
        let consumer =
            broker.consume(&queue, ConsumeOptions::new(prefetch)).await.map_err(failed)?;
        let held = Vec::new();
        Ok(Self { broker, pool, consumer, left, prefetch, unseen: 0, total, held, deleted: 0 })
    }

    /// The next message and its body; `None` at the end.
    pub(super) async fn next(
        &mut self,
    ) -> Result<Option<(DeadLetterEntry, Bytes)>, DeadLetterError> {
        if self.left == 0 {
            return Ok(None);
        }
        let held = u16::try_from(self.held.len()).unwrap_or(u16::MAX);
        if self.prefetch - held.min(self.prefetch) < self.left.min(AHEAD / 2) {
            self.prefetch = held.saturating_add(self.left.min(AHEAD));
            self.consumer.set_prefetch(self.prefetch).await;
        }
        match timeout(DELIVERY_TIMEOUT, self.consumer.next()).await {
            Err(_) => {
                self.unseen = std::mem::take(&mut self.left);
                Ok(None)
            }
            Ok(Some(Consumption::Delivery(mut delivery))) => {
                self.left -= 1;
                let entry = DeadLetterEntry::read(&delivery.message);
                let empty = Message { properties: Default::default(), body: Bytes::new() };
                let message = std::mem::replace(&mut delivery.message, empty);
                self.held.push(delivery);
                Ok(Some((entry, message.body)))
            }
            Ok(other) => {
                // The broker has requeued the messages that were held.
                self.held.drain(..).for_each(|delivery| delivery.settle(Settle::Requeue));
                let source = match other {
                    None => BrokerError::Closed,
                    Some(_) => BrokerError::Lost {
                        reason: "the consumer was interrupted while it read the dead letters"
                            .to_owned(),
                    },
                };
                Err(DeadLetterError::Broker { pool: self.pool.clone(), source })
            }
        }
    }

    /// Deletes the last message that was read.
    pub(super) fn delete_last(&mut self) {
        if let Some(delivery) = self.held.pop() {
            delivery.settle(Settle::Ack);
            self.deleted += 1;
        }
    }

    /// Requeues all messages; returns the number of messages that the broker did not deliver.
    pub(super) async fn finish(mut self) -> u16 {
        self.requeue().await;
        self.unseen
    }

    /// Requeues all messages except the last one that was read.
    pub(super) async fn finish_except_last(mut self) -> HeldMessage {
        let last = self.held.pop();
        self.deleted += 1;
        self.requeue().await;
        HeldMessage { last, broker: Arc::clone(&self.broker), pool: self.pool.clone() }
    }

    async fn requeue(&mut self) {
        self.consumer.cancel().await;
        // Those that were delivered ahead would come back only when the consumer is dropped, after
        // the count, and the next reader might miss them.
        while let Some(consumption) = self.consumer.next().await {
            if let Consumption::Delivery(delivery) = consumption {
                self.held.push(delivery);
            }
        }
        // The last message first: each is requeued in front of those that came after it.
        while let Some(delivery) = self.held.pop() {
            delivery.settle(Settle::Requeue);
        }
        counted(&*self.broker, &self.pool, self.total - self.deleted.min(self.total)).await;
    }
}

/// Requeues the held messages if the reader is dropped before the end.
impl Drop for Reader {
    fn drop(&mut self) {
        while let Some(delivery) = self.held.pop() {
            delivery.settle(Settle::Requeue);
        }
    }
}

/// A message that is held unsettled, so that other programs do not see it.
pub(super) struct HeldMessage {
    last: Option<Delivery>,
    broker: Arc<dyn Broker>,
    pool: Pool,
}

impl HeldMessage {
    /// Deletes the message, or requeues it.
    pub(super) async fn settle(mut self, delete: bool) {
        let Some(delivery) = self.last.take() else { return };
        if delete {
            return delivery.settle(Settle::Ack);
        }
        delivery.settle(Settle::Requeue);
        counted(&*self.broker, &self.pool, 1).await;
    }
}

impl Drop for HeldMessage {
    fn drop(&mut self) {
        if let Some(delivery) = self.last.take() {
            delivery.settle(Settle::Requeue);
        }
    }
}

/// Waits until the broker counts this many messages, so that the next reader finds them.
async fn counted(broker: &dyn Broker, pool: &Pool, messages: u64) {
    let queue = QueueSpec::Dead { pool: pool.clone() };
    let until = Instant::now() + RECOUNT_TIMEOUT;
    while Instant::now() < until {
        match broker.declare(&queue).await {
            Ok(declared) if declared.messages < messages => {
                sleep(Duration::from_millis(5)).await;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBroker;

    /// Reads a queue of which the broker counts and delivers this many messages; returns how many
    /// were read, how many the reader reports as unseen, and the prefetches.
    async fn read_all(counted: u64, delivered: u64) -> (usize, u16, Vec<u16>) {
        let broker = TestBroker::new();
        broker.fill(counted, delivered);
        let dyn_broker = Arc::new(Arc::clone(&broker));
        let mut scan = Reader::start(dyn_broker, Pool::default(), u16::MAX).await.unwrap();
        let mut read = 0;
        while scan.next().await.unwrap().is_some() {
            read += 1;
        }
        (read, scan.finish().await, broker.prefetches())
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_the_broker_counts_but_does_not_deliver_are_reported_as_unseen() {
        let (read, unseen, _) = read_all(5, 5).await;
        assert_eq!((read, unseen), (5, 0));
        let (read, unseen, _) = read_all(5, 3).await;
        assert_eq!((read, unseen), (3, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn few_messages_are_delivered_ahead_of_those_that_were_read() {
        let (read, unseen, prefetches) = read_all(1_000, 1_000).await;
        assert_eq!((read, unseen), (1_000, 0));
        assert_eq!(prefetches[0], AHEAD);
        assert!(prefetches.windows(2).all(|pair| pair[1] - pair[0] <= AHEAD), "{prefetches:?}");
        assert!(*prefetches.last().unwrap() >= 1_000, "all messages are held at the end");
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_were_delivered_ahead_are_requeued_before_the_reader_has_finished() {
        let broker = TestBroker::new();
        broker.fill(5, 5);
        let dyn_broker = Arc::new(Arc::clone(&broker));
        let mut scan = Reader::start(dyn_broker, Pool::default(), u16::MAX).await.unwrap();
        scan.next().await.unwrap().unwrap();
        assert_eq!(scan.finish().await, 0);
        assert_eq!(broker.requeued(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_messages_are_delivered_than_will_be_read() {
        let broker = TestBroker::new();
        broker.fill(5, 5);
        let dyn_broker = Arc::new(Arc::clone(&broker));
        let mut scan = Reader::start(dyn_broker, Pool::default(), 2).await.unwrap();
        while scan.next().await.unwrap().is_some() {}
        scan.finish().await;
        assert_eq!((broker.prefetches(), broker.requeued()), (vec![2], 2));
    }
}
