//! Registers the broker for URLs with the scheme `memory://`.

use std::sync::Arc;

use linkme::distributed_slice;
use phalanx_core::broker::{
    Broker, BrokerEntry, BrokerError, BrokerUrl, ConnectError, ConnectOptions, PHALANX_BROKERS,
    Role,
};

use crate::InMemoryBroker;

#[distributed_slice(PHALANX_BROKERS)]
static MEMORY: BrokerEntry = BrokerEntry {
    schemes: &["memory"],
    connect: |url, options| Box::pin(async move { connect(&url, &options) }),
};

fn connect(url: &BrokerUrl, options: &ConnectOptions) -> Result<Arc<dyn Broker>, ConnectError> {
    if options.role != Role::Leader {
        return Err(ConnectError::Setup {
            url: url.to_string(),
            source: BrokerError::Unusable {
                what: "the in-memory broker".to_owned(),
                reason: "it exists only within its own process, so a separate worker cannot reach \
                         any leader. A leader with `memory://` starts its own workers; for workers \
                         in other processes, give leader and workers the URL of a RabbitMQ broker: \
                         `amqp://user:password@host/vhost`"
                    .to_owned(),
            },
        });
    }
    let broker = InMemoryBroker::new();
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    broker.start_workers_with(options.slots.unwrap_or_else(cores), options.async_slots);
    Ok(Arc::new(broker))
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use phalanx_core::broker::connect;

    use super::*;

    #[tokio::test]
    async fn a_separate_worker_is_refused_with_advice() {
        let url = BrokerUrl::memory();
        let refused = connect(url, ConnectOptions::new(Role::Worker)).await.unwrap_err();
        let advice = refused.source().map(ToString::to_string).unwrap_or_default();
        assert!(advice.contains("amqp://"), "{refused}: {advice}");
    }
}
