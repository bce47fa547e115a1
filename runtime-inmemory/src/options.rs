//! What can be set.

use crate::Faults;

/// What can be set on a [`InMemoryBroker`](crate::InMemoryBroker).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct InMemoryOptions {
    /// The largest body that it takes, in bytes. Default: 128 MiB, as RabbitMQ 3.10.
    pub message_limit: u64,
    /// What it does wrong. Default: nothing.
    pub faults: Option<Faults>,
}

impl Default for InMemoryOptions {
    fn default() -> Self {
        Self { message_limit: 128 << 20, faults: None }
    }
}
