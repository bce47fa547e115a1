//! The in-memory broker fulfils all promises of the `Broker` trait.

use std::sync::Arc;

use phalanx_conformance::{BrokerUnderTest, conformance};
use phalanx_core::broker::Broker;
use phalanx_inmemory::{InMemoryBroker, InMemoryOptions};

struct InMemoryUnderTest {
    broker: InMemoryBroker,
}

const MESSAGE_LIMIT: u64 = 2 << 20;

async fn memory_broker(_test: &str) -> InMemoryUnderTest {
    let mut options = InMemoryOptions::default();
    options.message_limit = MESSAGE_LIMIT;
    InMemoryUnderTest { broker: InMemoryBroker::with_options(options) }
}

#[async_trait::async_trait]
impl BrokerUnderTest for InMemoryUnderTest {
    async fn connect(&self) -> Arc<dyn Broker> {
        Arc::new(self.broker.connect())
    }

    fn message_limit(&self) -> u64 {
        MESSAGE_LIMIT
    }
}

conformance!(memory_broker);
