//! The promises that every broker makes, kept by a real one.

mod common;

use std::sync::Arc;

use common::*;
use phalanx_conformance::{BrokerUnderTest, conformance};
use phalanx_core::broker::{Broker, Role};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

struct RabbitUnderTest {
    scratch: Scratch,
    limit: u64,
}

async fn rabbit(_test: &str) -> RabbitUnderTest {
    // 128 MiB before 4.0, 16 MiB since.
    let old = version().await.starts_with("3.");
    RabbitUnderTest { scratch: Scratch(namespace()), limit: if old { 128 << 20 } else { 16 << 20 } }
}

/// From the properties with which the broker greets.
async fn version() -> String {
    let (_, host, _) = parts(&test_url());
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
    let mut greeting = vec![0; 7];
    stream.read_exact(&mut greeting).await.unwrap();
    let length = u32::from_be_bytes(greeting[3..7].try_into().unwrap());
    greeting.resize(length as usize, 0);
    stream.read_exact(&mut greeting).await.unwrap();
    let name = b"\x07versionS";
    let at = greeting.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    let length = u32::from_be_bytes(greeting[at..at + 4].try_into().unwrap()) as usize;
    String::from_utf8(greeting[at + 4..at + 4 + length].to_vec()).unwrap()
}

#[async_trait::async_trait]
impl BrokerUnderTest for RabbitUnderTest {
    async fn connect(&self) -> Arc<dyn Broker> {
        Arc::new(connect_to(&test_url(), &self.scratch.0, Role::Leader).await.unwrap())
    }

    fn message_limit(&self) -> u64 {
        self.limit
    }

    async fn clean_up(self) {
        self.scratch.sweep().await;
    }
}

conformance!(rabbit);
