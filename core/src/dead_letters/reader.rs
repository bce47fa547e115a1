//! Reads the messages of one queue and puts them back.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::{DeadLetterEntry, DeadLetterError};
use crate::broker::{
    Broker, BrokerError, Consumer, Consumption, Delivery, Message, Pool, QueueSpec, Settle,
};

/// How long to wait for a message that the broker has counted. One that is not delivered by then
/// has expired, or another program reads it.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(3);
/// The most messages that are delivered ahead: each can be as large as the broker accepts.
const AHEAD: u16 = 64;
/// How long to wait until the broker counts the messages that were put back.
const COUNTING: Duration = Duration::from_secs(2);

/// The messages of one queue, which are held unsettled while they are read.
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
        let consumer = broker.consume(&queue, prefetch).await.map_err(failed)?;
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
        if self.prefetch - held.min(self.prefetch) < AHEAD / 2 {
            self.prefetch = held.saturating_add(AHEAD);
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
                        reason: "it was interrupted while the letters were looked through"
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

    /// Puts all messages back; returns the number of messages that the broker did not deliver.
    pub(super) async fn finish(mut self) -> u16 {
        self.give_back().await;
        self.unseen
    }

    /// Puts all messages back except the last one that was read.
    pub(super) async fn finish_but_last(mut self) -> LeasedTask {
        let last = self.held.pop();
        self.deleted += 1;
        self.give_back().await;
        LeasedTask { last, broker: Arc::clone(&self.broker), pool: self.pool.clone() }
    }

    async fn give_back(&mut self) {
        self.consumer.cancel().await;
        // The last message first: each is requeued in front of those that came after it.
        while let Some(delivery) = self.held.pop() {
            delivery.settle(Settle::Requeue);
        }
        counted(&*self.broker, &self.pool, self.total - self.deleted.min(self.total)).await;
    }
}

/// Puts the held messages back if the read is dropped half-way.
impl Drop for Reader {
    fn drop(&mut self) {
        while let Some(delivery) = self.held.pop() {
            delivery.settle(Settle::Requeue);
        }
    }
}

/// A message that is held, so that other programs do not see it.
pub(super) struct LeasedTask {
    last: Option<Delivery>,
    broker: Arc<dyn Broker>,
    pool: Pool,
}

impl LeasedTask {
    /// Deletes the message or puts it back.
    pub(super) async fn settle(mut self, remove: bool) {
        let Some(delivery) = self.last.take() else { return };
        if remove {
            return delivery.settle(Settle::Ack);
        }
        delivery.settle(Settle::Requeue);
        counted(&*self.broker, &self.pool, 1).await;
    }
}

impl Drop for LeasedTask {
    fn drop(&mut self) {
        if let Some(delivery) = self.last.take() {
            delivery.settle(Settle::Requeue);
        }
    }
}

/// Waits until the broker counts this many messages, so that the next reader finds them.
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

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use async_trait::async_trait;
    use tokio::sync::watch;

    use super::*;
    use crate::broker::{
        Address, BrokerUrl, DeclaredQueue, Health, Properties, PublishError, Settler,
    };

    /// Counts more messages than it delivers.
    #[derive(Debug)]
    struct Secretive {
        url: BrokerUrl,
        counted: u64,
        handed_out: u64,
        prefetches: Arc<Mutex<Vec<u16>>>,
    }

    #[derive(Debug)]
    struct Letters {
        left: u64,
        prefetches: Arc<Mutex<Vec<u16>>>,
    }

    #[derive(Debug)]
    struct Indifferent;

    impl Settler for Indifferent {
        fn settle(&self, _tag: u64, _settle: Settle) {}
    }

    #[async_trait]
    impl Consumer for Letters {
        async fn next(&mut self) -> Option<Consumption> {
            if self.left == 0 {
                return std::future::pending().await;
            }
            self.left -= 1;
            let message = Message { properties: Properties::default(), body: Bytes::new() };
            let delivery = Delivery::new(message, false, self.left, Arc::new(Indifferent));
            Some(Consumption::Delivery(delivery))
        }

        fn try_next(&mut self) -> Option<Consumption> {
            None
        }

        async fn set_prefetch(&mut self, prefetch: u16) {
            self.prefetches.lock().unwrap_or_else(PoisonError::into_inner).push(prefetch);
        }

        async fn cancel(&mut self) {}
    }

    #[async_trait]
    impl Broker for Secretive {
        fn url(&self) -> &BrokerUrl {
            &self.url
        }

        async fn declare(&self, _queue: &QueueSpec) -> Result<DeclaredQueue, BrokerError> {
            Ok(DeclaredQueue::new(self.counted, 0, false))
        }

        async fn publish(&self, _: &Address, _: Message) -> Result<(), PublishError> {
            Err(PublishError::Closed)
        }

        async fn publish_mandatory(&self, _: &Address, _: Message) -> Result<bool, PublishError> {
            Err(PublishError::Closed)
        }

        async fn consume(
            &self,
            _: &QueueSpec,
            prefetch: u16,
        ) -> Result<Box<dyn Consumer>, BrokerError> {
            let prefetches = Arc::clone(&self.prefetches);
            prefetches.lock().unwrap_or_else(PoisonError::into_inner).push(prefetch);
            Ok(Box::new(Letters { left: self.handed_out, prefetches }))
        }

        async fn delete(&self, _: &QueueSpec) -> Result<(), BrokerError> {
            Ok(())
        }

        fn health(&self) -> watch::Receiver<Health> {
            watch::channel(Health::default()).1
        }

        async fn close(&self) {}
    }

    async fn looked_through(counted: u64, handed_out: u64) -> (usize, u16, Vec<u16>) {
        let prefetches = Arc::<Mutex<Vec<u16>>>::default();
        let url = BrokerUrl::memory();
        let broker = Secretive { url, counted, handed_out, prefetches: Arc::clone(&prefetches) };
        let mut scan = Reader::start(Arc::new(broker), Pool::default(), u16::MAX).await.unwrap();
        let mut seen = 0;
        while scan.next().await.unwrap().is_some() {
            seen += 1;
        }
        let unseen = scan.finish().await;
        let prefetches = prefetches.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (seen, unseen, prefetches)
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_the_broker_does_not_deliver_are_reported() {
        let (seen, unseen, _) = looked_through(5, 5).await;
        assert_eq!((seen, unseen), (5, 0));
        let (seen, unseen, _) = looked_through(5, 3).await;
        assert_eq!((seen, unseen), (3, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn few_messages_are_delivered_ahead() {
        let (seen, unseen, prefetches) = looked_through(1_000, 1_000).await;
        assert_eq!((seen, unseen), (1_000, 0));
        assert_eq!(prefetches[0], AHEAD);
        assert!(prefetches.windows(2).all(|pair| pair[1] - pair[0] <= AHEAD), "{prefetches:?}");
        assert!(*prefetches.last().unwrap() >= 1_000, "all are held at last");
    }
}
