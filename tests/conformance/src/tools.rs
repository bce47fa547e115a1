//! What the promises are written with.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use phalanx_core::{
    broker::{
        Address, Broker, Consumer, Consumption, Delivery, Exchange, Message, MessageKind, Pool,
        Properties, QueueSpec, Settle,
    },
    id::LeaderId,
};

/// A broker that nobody else uses.
#[async_trait::async_trait]
pub trait BrokerUnderTest: Send + Sync + Sized {
    /// A new connection to it: what one process would have.
    async fn connect(&self) -> Arc<dyn Broker>;

    /// The largest body that it takes, in bytes.
    fn message_limit(&self) -> u64;

    /// Removes what the test left behind.
    async fn clean_up(self) {}
}

/// The value of a future that must not take long.
///
/// # Panics
/// After a minute.
pub async fn within_a_minute<T>(future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(Duration::from_secs(60), future).await else {
        panic!("not over after a minute")
    };
    value
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
    broker.publish(address, message(body)).await.expect("the broker takes the message");
}

pub(crate) async fn consume(
    broker: &Arc<dyn Broker>,
    queue: &QueueSpec,
    prefetch: u16,
) -> Box<dyn Consumer> {
    broker.consume(queue, prefetch).await.expect("the queue can be consumed")
}

/// The next delivery.
pub(crate) async fn receive(consumer: &mut Box<dyn Consumer>) -> Delivery {
    match consumer.next().await {
        Some(Consumption::Delivery(delivery)) => delivery,
        other => panic!("expected a delivery, got {other:?}"),
    }
}

/// The body of the next delivery, which is acked.
pub(crate) async fn take(consumer: &mut Box<dyn Consumer>) -> String {
    let delivery = receive(consumer).await;
    let text = body(&delivery);
    delivery.settle(Settle::Ack);
    text
}

pub(crate) fn body(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.message.body).into_owned()
}

/// Asks again and again until the answer is yes.
pub(crate) async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    while !holds().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
