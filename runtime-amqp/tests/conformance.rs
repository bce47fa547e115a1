//! The RabbitMQ broker fulfils all promises of the `Broker` trait.

mod common;

use std::sync::Arc;

use common::*;
use phalanx_amqp::AmqpBroker;
use phalanx_conformance::BrokerUnderTest;
use phalanx_core::broker::{Broker, BrokerUrl, QueueType, Role};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

struct RabbitUnderTest {
    scratch: Scratch,
    queue_type: QueueType,
    limit: u64,
}

impl RabbitUnderTest {
    async fn new(queue_type: QueueType) -> Self {
        // 128 MiB before 4.0, 16 MiB since.
        let old = version().await.starts_with("3.");
        let limit = if old { 128 << 20 } else { 16 << 20 };
        Self { scratch: Scratch(namespace()), queue_type, limit }
    }
}

/// The broker's version, from the server properties that it sends first.
async fn version() -> String {
    let (_, host, _) = parts(&test_url());
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
    let mut start = vec![0; 7];
    stream.read_exact(&mut start).await.unwrap();
    let length = u32::from_be_bytes(start[3..7].try_into().unwrap());
    start.resize(length as usize, 0);
    stream.read_exact(&mut start).await.unwrap();
    let name = b"\x07versionS";
    let at = start.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    let length = u32::from_be_bytes(start[at..at + 4].try_into().unwrap()) as usize;
    String::from_utf8(start[at + 4..at + 4 + length].to_vec()).unwrap()
}

#[async_trait::async_trait]
impl BrokerUnderTest for RabbitUnderTest {
    async fn connect(&self) -> Arc<dyn Broker> {
        let mut options = options(&self.scratch.0, Role::Leader);
        options.queue_type = self.queue_type;
        Arc::new(
            AmqpBroker::connect(BrokerUrl::parse(&test_url()).unwrap(), options).await.unwrap(),
        )
    }

    fn message_limit(&self) -> u64 {
        self.limit
    }

    async fn clean_up(self) {
        self.scratch.clean_up().await;
    }
}

mod classic_task_queues {
    async fn rabbit(_test: &str) -> super::RabbitUnderTest {
        super::RabbitUnderTest::new(super::QueueType::Classic).await
    }

    phalanx_conformance::conformance!(rabbit);
}

mod quorum_task_queues {
    async fn rabbit(_test: &str) -> super::RabbitUnderTest {
        super::RabbitUnderTest::new(super::QueueType::Quorum).await
    }

    phalanx_conformance::conformance!(rabbit);
}
