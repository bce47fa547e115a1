//! Helpers for the promises.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use phalanx_core::{
    broker::{
        Address, Broker, ConsumeOptions, Consumer, Consumption, Delivery, Exchange, Message,
        MessageKind, Pool, Properties, QueueSpec, Settle,
    },
    id::LeaderId,
};

/// A broker whose queues no other test uses.
#[async_trait::async_trait]
pub trait BrokerUnderTest: Send + Sync + Sized {
    /// A new connection, as one process has it.
    async fn connect(&self) -> Arc<dyn Broker>;

    /// The largest message body that the broker accepts, in bytes.
    fn message_limit(&self) -> u64;

    /// Deletes the queues of the test. The default does nothing.
    async fn clean_up(self) {}
}

pub(crate) fn tasks() -> QueueSpec {
    QueueSpec::Task { pool: Pool::default() }
}

pub(crate) fn to_tasks() -> Address {
    Address::new(Exchange::Task, Pool::DEFAULT)
}

pub(crate) fn replies(leader: LeaderId) -> QueueSpec {
    QueueSpec::Reply { leader, expires: Duration::from_secs(600) }
}

pub(crate) fn to_replies(leader: LeaderId) -> Address {
    Address::new(Exchange::Reply, leader.to_string())
}

pub(crate) fn message(body: impl Into<Bytes>) -> Message {
    let properties = Properties {
        kind: Some(MessageKind::Task),
        wire_version: 1,
        persistent: true,
        ..Properties::default()
    };
    Message { properties, body: body.into() }
}

pub(crate) async fn publish(broker: &Arc<dyn Broker>, address: &Address, body: impl Into<Bytes>) {
    broker.publish(address, message(body)).await.expect("the broker confirms the message");
}

pub(crate) async fn consume(
    broker: &Arc<dyn Broker>,
    queue: &QueueSpec,
    prefetch: u16,
) -> Box<dyn Consumer> {
    broker
        .consume(queue, ConsumeOptions::new(prefetch))
        .await
        .expect("the queue exists or is declared")
}

/// Waits for the next delivery.
pub(crate) async fn receive(consumer: &mut Box<dyn Consumer>) -> Delivery {
    match consumer.next().await {
        Some(Consumption::Delivery(delivery)) => delivery,
        other => panic!("expected a delivery, got {other:?}"),
    }
}

/// Waits for the next delivery, acks it and returns its body.
pub(crate) async fn take(consumer: &mut Box<dyn Consumer>) -> String {
    let delivery = receive(consumer).await;
    let text = body(&delivery);
    delivery.settle(Settle::Ack);
    text
}

pub(crate) fn body(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.message.body).into_owned()
}
