//! What `memory://` comes to.

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
                what: "the broker in memory".to_owned(),
                reason: "it ends with its process, so a worker of its own hears of no leader. \
                         A leader over `memory://` brings its workers along; for workers in \
                         other processes give both the URL of a RabbitMQ, \
                         `amqp://user:password@host/vhost`"
                    .to_owned(),
            },
        });
    }
    let broker = InMemoryBroker::new();
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    broker.start_workers(options.slots.unwrap_or_else(cores));
    Ok(Arc::new(broker))
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use phalanx_core::broker::connect;

    use super::*;

    #[tokio::test]
    async fn a_worker_of_its_own_is_refused_with_advice() {
        let url = BrokerUrl::memory();
        let refused = connect(url, ConnectOptions::new(Role::Worker)).await.unwrap_err();
        let advice = refused.source().map(ToString::to_string).unwrap_or_default();
        assert!(advice.contains("amqp://"), "{refused}: {advice}");
    }
}
