//! The scheme `chaos://`: the broker of `amqp://`, with the faults that the environment sets.
//! Leaders and workers are real programs with their usual command line; only their URL differs.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use linkme::distributed_slice;
use phalanx_core::broker::{
    self, Broker, BrokerEntry, BrokerUrl, ConnectError, ConnectOptions, PHALANX_BROKERS,
};

use super::ChaosBroker;
use crate::{ProcessFaults, process_faults};

#[distributed_slice(PHALANX_BROKERS)]
static CHAOS: BrokerEntry =
    BrokerEntry { schemes: &["chaos"], connect: |url, options| Box::pin(connect(url, options)) };

static CONNECTED: AtomicBool = AtomicBool::new(false);

/// Whether this process has connected to the broker. Workers have, their child processes have not.
pub(crate) fn is_connected() -> bool {
    CONNECTED.load(Ordering::Relaxed)
}

async fn connect(url: BrokerUrl, options: ConnectOptions) -> Result<Arc<dyn Broker>, ConnectError> {
    let faults = match env::var(process_faults::VARIABLE) {
        Ok(text) => text.parse().map_err(|reason| ConnectError::Url {
            url: url.to_string(),
            reason: format!("{}: {reason}", process_faults::VARIABLE),
        })?,
        Err(_) => ProcessFaults::default(),
    };
    let real = url.expose_secrets().replacen("chaos", "amqp", 1);
    let broker = broker::connect(BrokerUrl::parse(&real)?, options).await?;
    CONNECTED.store(true, Ordering::Relaxed);
    Ok(Arc::new(ChaosBroker::new(broker, faults)))
}
