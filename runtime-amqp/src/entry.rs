//! Registers the broker for URLs with the scheme `amqp://`, and `amqps://` with the feature `tls`.

use std::sync::Arc;

use linkme::distributed_slice;
use phalanx_core::broker::{Broker, BrokerEntry, PHALANX_BROKERS};

use crate::AmqpBroker;

#[distributed_slice(PHALANX_BROKERS)]
static AMQP: BrokerEntry = BrokerEntry {
    schemes: if cfg!(feature = "tls") { &["amqp", "amqps"] } else { &["amqp"] },
    connect: |url, options| {
        Box::pin(async move {
            let broker = AmqpBroker::connect(url, options).await?;
            Ok(Arc::new(broker) as Arc<dyn Broker>)
        })
    },
};
