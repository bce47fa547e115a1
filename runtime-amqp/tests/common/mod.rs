//! What the tests against a real broker share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of it")]

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

/// No condition of these tests takes so long on any machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The broker that the developer's chores provide.
pub fn test_url() -> String {
    std::env::var("PHALANX_TEST_AMQP_URL").unwrap_or_else(|_| {
        panic!(
            "PHALANX_TEST_AMQP_URL is not set: run `cargo xtask test`, which provides a broker, \
             or set it to the URL of one, such as amqp://guest:guest@127.0.0.1:5672/"
        )
    })
}

/// The parts of the URL: credentials, host and port, the rest with its slash.
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
    // Classic queues: made and dropped by the hundred, which quorum queues are not for.
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

/// A leader in a namespace of its own, which is cleaned up at the end of the test.
pub async fn connect() -> (AmqpBroker, Scratch) {
    let scratch = Scratch(namespace());
    (connect_to(&test_url(), &scratch.0, Role::Leader).await.unwrap(), scratch)
}

/// A namespace whose exchanges and task queues are deleted when the test is over.
pub struct Scratch(pub String);

impl Scratch {
    pub async fn sweep(self) {
        let connection = raw().await;
        for last in ["task", "reply", "control", "event", "dead"] {
            let channel = connection.create_channel().await.unwrap();
            let name = format!("{}.{last}", self.0);
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

/// A connection that knows nothing of Phalanx.
pub async fn raw() -> lapin::Connection {
    let mut parts = Parts::of(&test_url());
    // lapin takes a slash at the end for a virtual host without a name.
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

/// Fails the test rather than hang.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: it takes too long"))
}

/// The next consumption, which must be a delivery.
pub async fn delivery(consumer: &mut dyn Consumer) -> Delivery {
    match soon("a delivery", consumer.next()).await {
        Some(Consumption::Delivery(delivery)) => delivery,
        other => panic!("no delivery but {other:?}"),
    }
}

/// Skips deliveries until the consumer says that it is back.
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
    soon("to resume", resumed).await
}

pub async fn healthy(broker: &AmqpBroker, what: &str, wanted: impl Fn(&Health) -> bool) -> Health {
    let mut health = broker.health();
    let found = soon(what, health.wait_for(wanted)).await;
    found.unwrap().clone()
}

/// All that an error shows, through its sources, in both forms.
pub fn shown(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(" {error} {error:?}");
        source = error.source();
    }
    text
}
