//! The broker.

use std::sync::Arc;

use async_trait::async_trait;
use phalanx_core::broker::{
    Address, Broker, BrokerError, BrokerUrl, Consumer, DeclaredQueue, Health, Message,
    PublishError, QueueSpec,
};
use tokio::sync::watch;

use crate::{
    Faults, connection::Connection, consumer::MemoryConsumer, options::InMemoryOptions,
    topology::Topology, workers::Workers,
};

/// A connection to a broker in memory.
///
/// [`new`](Self::new) makes a broker and the first connection to it, [`connect`](Self::connect)
/// further ones. Dropping or closing a connection does what it does on RabbitMQ: its consumers end,
/// what they had not settled is delivered to others, its exclusive queues are gone. The broker is
/// gone with its last connection.
#[derive(Debug)]
pub struct InMemoryBroker {
    url: BrokerUrl,
    connection: Arc<Connection>,
    workers: Workers,
}

impl InMemoryBroker {
    /// A broker with the default options.
    pub fn new() -> Self {
        Self::with_options(InMemoryOptions::default())
    }

    /// A broker with these options.
    pub fn with_options(options: InMemoryOptions) -> Self {
        Self::connected_to(Arc::new(Topology::new(options)))
    }

    /// A broker that misbehaves.
    pub fn with_misbehaviour(faults: Faults) -> Self {
        Self::with_options(InMemoryOptions { faults: Some(faults), ..InMemoryOptions::default() })
    }

    /// Another connection to the same broker.
    pub fn connect(&self) -> Self {
        Self::connected_to(self.connection.topology.clone())
    }

    /// Breaks this connection, as a network would; it comes back at once.
    ///
    /// Its consumers are interrupted, what they had not settled is delivered again, and its
    /// exclusive queues are declared anew.
    pub fn interrupt(&self) {
        self.connection.interrupt();
    }

    /// Starts a worker in this process with so many slots, on a connection of its own; it ends with
    /// this connection.
    ///
    /// It serves the pool `default` and all that the operations of this program name. For any
    /// other pool whose queue this connection declares, as a leader does before it uses one, one
    /// more worker is started.
    ///
    /// A worker that has given up as many threads as it has slots, to operations that outlasted
    /// their timeout and did not end, is replaced by a fresh one. Those threads stay until the
    /// process ends; at a thousand of them no worker comes any more.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start_workers(&self, slots: usize) {
        self.workers.start(self, slots);
    }

    fn connected_to(topology: Arc<Topology>) -> Self {
        Self {
            url: BrokerUrl::memory(),
            connection: Connection::open(topology),
            workers: Workers::default(),
        }
    }

    fn open(&self) -> Result<&Arc<Connection>, BrokerError> {
        match self.connection.is_closed() {
            false => Ok(&self.connection),
            true => Err(BrokerError::Closed),
        }
    }
}

impl Default for InMemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for InMemoryBroker {
    fn drop(&mut self) {
        self.connection.close();
    }
}

#[async_trait]
impl Broker for InMemoryBroker {
    fn url(&self) -> &BrokerUrl {
        &self.url
    }

    async fn declare(&self, queue: &QueueSpec) -> Result<DeclaredQueue, BrokerError> {
        let connection = self.open()?;
        if let QueueSpec::Task { pool } = queue {
            self.workers.serve(self, pool);
        }
        let queue = connection.topology.declare(queue, connection.id)?;
        let (messages, consumers) = queue.counts();
        Ok(DeclaredQueue::new(messages as u64, consumers as u32, false))
    }

    async fn publish(&self, address: &Address, message: Message) -> Result<(), PublishError> {
        self.connection.publish(address, message).map(drop)
    }

    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        self.connection.publish(address, message)
    }

    async fn consume(
        &self,
        queue: &QueueSpec,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        let connection = self.open()?;
        Ok(Box::new(MemoryConsumer::new(connection.clone(), queue.clone(), prefetch)?))
    }

    async fn delete(&self, queue: &QueueSpec) -> Result<(), BrokerError> {
        let connection = self.open()?;
        connection.topology.delete(queue, connection.id)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.connection.health()
    }

    async fn close(&self) {
        self.workers.stop().await;
        self.connection.close();
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use bytes::Bytes;
    use phalanx_core::{
        broker::{Consumption, Delivery, Exchange, Pool, Properties, Settle},
        id::{LeaderId, WorkerId},
    };
    use tokio::time::{Instant, advance};

    use super::*;

    fn tasks() -> QueueSpec {
        QueueSpec::Task { pool: Pool::default() }
    }

    fn to_tasks() -> Address {
        Address::new(Exchange::Task, Pool::DEFAULT)
    }

    fn message(body: impl Into<Bytes>) -> Message {
        Message { properties: Properties::default(), body: body.into() }
    }

    async fn delivery(consumer: &mut Box<dyn Consumer>) -> Delivery {
        match consumer.next().await {
            Some(Consumption::Delivery(delivery)) => delivery,
            other => panic!("expected a delivery, got {other:?}"),
        }
    }

    #[tokio::test]
    async fn an_interrupted_consumer_comes_back_and_gets_again_what_it_had_not_settled() {
        let broker = InMemoryBroker::new();
        let mut consumer = broker.consume(&tasks(), 4).await.unwrap();
        for body in ["a", "b", "c"] {
            broker.publish(&to_tasks(), message(body)).await.unwrap();
        }
        delivery(&mut consumer).await.settle(Settle::Ack);
        let held = delivery(&mut consumer).await;

        broker.interrupt();
        let Some(Consumption::Resumed { generation }) = consumer.next().await else {
            panic!("the consumer does not say that it was interrupted")
        };
        assert_eq!(generation, 2);
        assert_eq!(broker.health().borrow().generation, 2);
        let again = delivery(&mut consumer).await;
        assert_eq!((&again.message.body[..], again.redelivered), (&b"b"[..], true));
        let fresh = delivery(&mut consumer).await;
        assert_eq!((&fresh.message.body[..], fresh.redelivered), (&b"c"[..], false));

        // Settling a delivery of the earlier connection touches none of the new one.
        held.settle(Settle::Ack);
        assert_eq!(broker.declare(&tasks()).await.unwrap().messages, 0);
        broker.interrupt();
        assert_eq!(broker.declare(&tasks()).await.unwrap().messages, 2);
        again.settle(Settle::Ack);
        fresh.settle(Settle::Ack);
    }

    #[tokio::test]
    async fn an_exclusive_queue_is_made_anew_after_an_interruption() {
        let broker = InMemoryBroker::new();
        let spec = QueueSpec::Control { worker: WorkerId::new(), topics: vec!["all".to_owned()] };
        let all = Address::new(Exchange::Control, "all");
        let mut consumer = broker.consume(&spec, 1).await.unwrap();
        broker.interrupt();
        assert!(!broker.publish_mandatory(&all, message("unheard")).await.unwrap());
        assert!(matches!(consumer.next().await, Some(Consumption::Resumed { .. })));
        assert!(broker.publish_mandatory(&all, message("heard")).await.unwrap());
        let heard = delivery(&mut consumer).await;
        assert_eq!(heard.message.body, "heard");
        heard.settle(Settle::Ack);
    }

    #[tokio::test]
    async fn a_deleted_queue_is_declared_again_by_its_consumer() {
        let broker = InMemoryBroker::new();
        let mut consumer = broker.consume(&tasks(), 1).await.unwrap();
        broker.connect().delete(&tasks()).await.unwrap();
        assert!(matches!(consumer.next().await, Some(Consumption::Resumed { .. })));
        assert!(broker.publish_mandatory(&to_tasks(), message("x")).await.unwrap());
        delivery(&mut consumer).await.settle(Settle::Ack);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_queue_expires_without_a_consumer_and_not_with_one() {
        let broker = InMemoryBroker::new();
        let leader = LeaderId::new();
        let expires = Duration::from_secs(60);
        let spec = QueueSpec::Reply { leader, expires };
        let address = Address::new(Exchange::Reply, leader.to_string());
        let reachable = || broker.publish_mandatory(&address, message("x"));

        let consumer = broker.consume(&spec, 1).await.unwrap();
        advance(expires * 2).await;
        assert!(reachable().await.unwrap(), "it has a consumer");
        drop(consumer);
        advance(expires / 2).await;
        assert!(reachable().await.unwrap(), "its time is not over");
        broker.declare(&spec).await.unwrap();
        advance(expires / 2).await;
        assert!(reachable().await.unwrap(), "a declaration keeps it");
        advance(expires).await;
        assert!(!reachable().await.unwrap());
        assert_eq!(broker.declare(&spec).await.unwrap().messages, 0, "it is a new queue");
    }

    #[tokio::test]
    async fn what_comes_back_for_ever_ends_with_the_dead_letters() {
        let broker = InMemoryBroker::new();
        let mut consumer = broker.consume(&tasks(), 1).await.unwrap();
        broker.publish(&to_tasks(), message("poison")).await.unwrap();
        let mut deliveries = 0;
        while let Some(Consumption::Delivery(delivery)) = consumer.try_next() {
            deliveries += 1;
            delivery.settle(Settle::Requeue);
        }
        assert_eq!(deliveries, 1_001);
        let dead = QueueSpec::Dead { pool: Pool::default() };
        assert_eq!(broker.declare(&dead).await.unwrap().messages, 1);
    }

    #[tokio::test]
    async fn a_broken_connection_leaves_open_whether_the_message_was_taken() {
        let taken = async |seed| {
            let broker = InMemoryBroker::with_misbehaviour(Faults::none(seed).disconnect(1.0));
            broker.declare(&tasks()).await.unwrap();
            let lost = broker.publish(&to_tasks(), message("x")).await;
            assert!(matches!(lost, Err(PublishError::Lost)), "{lost:?}");
            broker.declare(&tasks()).await.unwrap().messages
        };
        let mut seen = [false; 2];
        for seed in 0..64 {
            seen[taken(seed).await as usize] = true;
        }
        assert_eq!(seen, [true, true], "both happen");
    }

    #[tokio::test]
    async fn duplicates_disorder_delays_and_broken_connections_lose_nothing() {
        for seed in 0..20 {
            let broker = InMemoryBroker::with_misbehaviour(Faults::seeded(seed));
            let publisher = broker.connect();
            let mut consumer = broker.consume(&tasks(), 8).await.unwrap();
            let mut unsettled = Vec::new();
            for n in 0u32..200 {
                let body = Bytes::copy_from_slice(&n.to_le_bytes());
                // Whoever does not know whether a message was taken publishes it again.
                while publisher.publish(&to_tasks(), message(body.clone())).await.is_err() {}
            }
            let mut seen = BTreeMap::<u32, usize>::new();
            while seen.len() < 200 {
                match consumer.next().await.unwrap() {
                    Consumption::Delivery(delivery) => {
                        let n = delivery.message.body[..].try_into().unwrap();
                        *seen.entry(u32::from_le_bytes(n)).or_default() += 1;
                        unsettled.push(delivery);
                        if unsettled.len() == 8 {
                            unsettled.drain(..).for_each(|held| held.settle(Settle::Ack));
                        }
                    }
                    Consumption::Resumed { .. } => {
                        unsettled.drain(..).for_each(|held| held.settle(Settle::Ack));
                    }
                }
            }
            assert!(seen.values().any(|times| *times > 1), "seed {seed} duplicates nothing");
            unsettled.drain(..).for_each(|held| held.settle(Settle::Ack));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_message_comes_within_the_longest_delay() {
        let longest = Duration::from_secs(10);
        let broker = InMemoryBroker::with_misbehaviour(Faults::none(1).delay(1.0, longest));
        let mut consumer = broker.consume(&tasks(), 1).await.unwrap();
        let start = Instant::now();
        broker.publish(&to_tasks(), message("late")).await.unwrap();
        assert!(consumer.try_next().is_none());
        delivery(&mut consumer).await.settle(Settle::Ack);
        let waited = start.elapsed();
        assert!(waited > Duration::ZERO && waited <= longest, "{waited:?}");
    }

    #[tokio::test]
    async fn a_lost_message_was_taken_all_the_same() {
        let broker = InMemoryBroker::with_misbehaviour(Faults::none(1).lose(1.0));
        broker.declare(&tasks()).await.unwrap();
        broker.publish(&to_tasks(), message("x")).await.unwrap();
        assert_eq!(broker.declare(&tasks()).await.unwrap().messages, 0);
    }
}
