//! The in-memory broker keeps every promise of the broker trait.

use std::sync::Arc;

use phalanx_conformance::{BrokerUnderTest, conformance};
use phalanx_core::broker::Broker;
use phalanx_inmemory::{InMemoryBroker, InMemoryOptions};

struct Memory {
    broker: InMemoryBroker,
}

const MESSAGE_LIMIT: u64 = 2 << 20;

async fn memory_broker(_test: &str) -> Memory {
    let mut options = InMemoryOptions::default();
    options.message_limit = MESSAGE_LIMIT;
    Memory { broker: InMemoryBroker::with_options(options) }
}

#[async_trait::async_trait]
impl BrokerUnderTest for Memory {
    async fn connect(&self) -> Arc<dyn Broker> {
        Arc::new(self.broker.connect())
    }

    fn message_limit(&self) -> u64 {
        MESSAGE_LIMIT
    }
}

conformance!(memory_broker);
