//! Helpers for tests against a real broker.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses only some of them")]

use std::{future::Future, time::Duration};

use phalanx_amqp::AmqpBroker;
use phalanx_core::{
    broker::{
        Address, Broker, BrokerUrl, ConnectError, ConnectOptions, Consumer, Consumption, Delivery,
        Health, Message, MessageKind, Pool, Properties, QueueSpec, QueueType, Role, Settle,
    },
    id::LeaderId,
};
use phalanx_test_proxy::Parts;

/// The limit of each wait in these tests, ample on a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// The broker that `cargo xtask test` provides.
///
/// # Panics
/// If there is none.
pub fn test_url() -> String {
    std::env::var("PHALANX_TEST_AMQP_URL").unwrap_or_else(|_| {
        panic!(
            "PHALANX_TEST_AMQP_URL is not set: run `cargo xtask test`, which provides a broker, \
             or set it to the URL of one, such as amqp://guest:guest@127.0.0.1:5672/"
        )
    })
}

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
    // These tests declare and delete queues by the hundred, which quorum queues are not made for.
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

/// Connects as a leader, in a namespace of its own that the test cleans up at its end.
pub async fn connect() -> (AmqpBroker, Scratch) {
    let scratch = Scratch(namespace());
    (connect_to(&test_url(), &scratch.0, Role::Leader).await.unwrap(), scratch)
}

/// A namespace whose exchanges and durable queues `clean_up` deletes.
pub struct Scratch(pub String);

impl Scratch {
    pub async fn clean_up(self) {
        let connection = raw_connection().await;
        for exchange in ["task", "reply", "control", "event", "dead"] {
            let channel = connection.create_channel().await.unwrap();
            let name = format!("{}.{exchange}", self.0);
            let _ = channel.exchange_delete(name.into(), Default::default()).await;
        }
        for kind in ["task", "dead"] {
            for pool in ["default", "other"] {
                let channel = connection.create_channel().await.unwrap();
                let name = format!("{}.{kind}.{pool}", self.0);
                let _ = channel.queue_delete(name.into(), Default::default()).await;
            }
        }
    }
}

/// A connection that bypasses Phalanx.
pub async fn raw_connection() -> lapin::Connection {
    let mut parts = Parts::of(&test_url());
    // lapin parses a trailing slash as a virtual host with an empty name.
    if parts.rest.trim_matches('/').is_empty() {
        parts.rest = "/%2f".to_owned();
    }
    let url = parts.at(&parts.host);
    lapin::Connection::connect(&url, Default::default()).await.unwrap()
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

/// Awaits `future`; panics after a minute, naming `what` it waited for.
pub async fn within_a_minute<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, future)
        .await
        .unwrap_or_else(|_| panic!("timed out waiting for {what}"))
}

/// The next delivery; panics if the consumer yields anything else.
pub async fn delivery(consumer: &mut dyn Consumer) -> Delivery {
    match within_a_minute("a delivery", consumer.next()).await {
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
    within_a_minute("the consumer to resume", resumed).await
}

/// Waits until `wanted` holds for the health of the broker.
pub async fn wait_for_health(
    broker: &AmqpBroker,
    what: &str,
    wanted: impl Fn(&Health) -> bool,
) -> Health {
    let mut health = broker.health();
    let found = within_a_minute(what, health.wait_for(wanted)).await;
    found.unwrap().clone()
}

/// The `Display` and `Debug` texts of an error and all its sources.
pub fn error_text(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(" {error} {error:?}");
        source = error.source();
    }
    text
}
