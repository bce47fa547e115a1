//! The RabbitMQ broker of Phalanx.
//!
//! Users depend on the facade crate `phalanx` with the feature `amqp`; URLs of the scheme `amqp://`
//! (and `amqps://` with the feature `tls`) then lead here.
//!
//! - `url`: what a URL says.
//! - `dial`: one attempt to connect to one host; `tls` makes it secure.
//! - `connection`: the two connections of a process, and the supervisor that brings them back.
//! - `topology`: exchanges and queues by name and arguments; `declare` makes them or uses what is
//!   there.
//! - `publisher`: confirms, pipelined.
//! - `consumer` and `acker`: deliveries, and how they are settled.
//! - `properties`: what a message says without being decoded.
//! - `error`: what the broker reports.

mod acker;
mod broker;
mod connection;
mod consumer;
mod declare;
mod dial;
mod error;
mod properties;
mod publisher;
mod tls;
mod topology;
mod url;

use std::sync::Arc;

use linkme::distributed_slice;
use phalanx_core::broker::{Broker, BrokerEntry, PHALANX_BROKERS};

pub use broker::AmqpBroker;

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
