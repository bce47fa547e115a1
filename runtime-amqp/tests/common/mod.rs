//! Helpers for tests against a real broker.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses only some of them")]

use phalanx_amqp::AmqpBroker;
use phalanx_core::{
    broker::{
        Address, Broker, BrokerUrl, ConnectError, ConnectOptions, Consumer, Consumption, Delivery,
        Health, Message, MessageKind, Pool, Properties, QueueSpec, QueueType, Role, Settle,
    },
    id::LeaderId,
};
use phalanx_test_proxy::Parts;
use phalanx_test_support::remove_namespace;
pub use phalanx_test_support::{soon, test_url};

/// The parts of a URL: credentials, host with port, and the rest from its slash on.
pub fn parts(url: &str) -> (String, String, String) {
    let Parts { credentials, host, rest } = Parts::of(url);
    (credentials, host, rest)
}

/// A namespace that no other test uses.
pub fn namespace() -> String {
    format!("test-{}", LeaderId::new())
}

pub fn options(namespace: &str, role: Role) -> ConnectOptions {
    let mut options = ConnectOptions::new(role);
    options.namespace = namespace.to_owned();
    // These tests declare and delete hundreds of queues, which quorum queues are not designed for.
    options.queue_type = QueueType::Classic;
    options
}

pub async fn connect_to(
    url: &str,
    namespace: &str,
    role: Role,
) -> Result<AmqpBroker, ConnectError> {
    AmqpBroker::connect(BrokerUrl::parse(url)?, options(namespace, role)).await
}

/// Connects as a leader, in a separate namespace that the test cleans up at its end.
pub async fn connect() -> (AmqpBroker, Scratch) {
    let scratch = Scratch(namespace());
    (connect_to(&test_url(), &scratch.0, Role::Leader).await.unwrap(), scratch)
}

/// A namespace whose exchanges and durable queues `clean_up` deletes.
pub struct Scratch(pub String);

impl Scratch {
    pub async fn clean_up(self) {
        remove_namespace(&raw_connection().await, &self.0).await.unwrap();
    }
}

/// A connection that bypasses Phalanx.
pub async fn raw_connection() -> lapin::Connection {
    phalanx_test_support::connect(&test_url()).await.unwrap()
}

pub fn tasks() -> QueueSpec {
    QueueSpec::Task { pool: Pool::default() }
}

pub fn to_tasks() -> Address {
    Address::tasks(&Pool::default())
}

pub fn message(body: impl Into<Vec<u8>>) -> Message {
    let properties = Properties {
        kind: Some(MessageKind::Task),
        wire_version: 1,
        persistent: true,
        ..Default::default()
    };
    Message { properties, body: body.into().into() }
}

/// The next delivery; panics if the consumer yields anything else.
pub async fn delivery(consumer: &mut dyn Consumer) -> Delivery {
    match soon("a delivery", consumer.next()).await {
        Some(Consumption::Delivery(delivery)) => delivery,
        other => panic!("expected a delivery, got {other:?}"),
    }
}

/// Requeues deliveries until the consumer has resumed; returns the generation of the connection.
pub async fn resumed(consumer: &mut dyn Consumer) -> u64 {
    let resumed = async {
        loop {
            match consumer.next().await {
                Some(Consumption::Resumed { generation }) => return generation,
                Some(Consumption::Delivery(delivery)) => delivery.settle(Settle::Requeue),
                None => panic!("the consumer ended"),
            }
        }
    };
    soon("the consumer to resume", resumed).await
}

/// Waits until `wanted` holds for the health of the broker.
pub async fn wait_for_health(
    broker: &AmqpBroker,
    what: &str,
    wanted: impl Fn(&Health) -> bool,
) -> Health {
    let mut health = broker.health();
    let found = soon(what, health.wait_for(wanted)).await;
    found.unwrap().clone()
}
