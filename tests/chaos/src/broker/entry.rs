//! What `chaos://` comes to: the broker of `amqp://`, in a process with the habits of its
//! environment. So leaders and workers are the real ones, command line and all.

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
use crate::{Habits, habits};

#[distributed_slice(PHALANX_BROKERS)]
static CHAOS: BrokerEntry =
    BrokerEntry { schemes: &["chaos"], connect: |url, options| Box::pin(connect(url, options)) };

static CONNECTED: AtomicBool = AtomicBool::new(false);

/// Whether this process has a connection of its own, as workers have and their children do not.
pub(crate) fn is_connected() -> bool {
    CONNECTED.load(Ordering::Relaxed)
}

async fn connect(url: BrokerUrl, options: ConnectOptions) -> Result<Arc<dyn Broker>, ConnectError> {
    let habits = match env::var(habits::VARIABLE) {
        Ok(text) => text.parse().map_err(|reason| ConnectError::Url {
            url: url.to_string(),
            reason: format!("{}: {reason}", habits::VARIABLE),
        })?,
        Err(_) => Habits::default(),
    };
    let real = url.expose_secrets().replacen("chaos", "amqp", 1);
    let broker = broker::connect(BrokerUrl::parse(&real)?, options).await?;
    CONNECTED.store(true, Ordering::Relaxed);
    Ok(Arc::new(ChaosBroker::new(broker, habits)))
}
