//! What can be set.

use crate::Misbehaviour;

/// What can be set on a [`MemoryBroker`](crate::MemoryBroker).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// The largest body that it takes, in bytes. Default: 128 MiB, as RabbitMQ 3.10.
    pub message_limit: u64,
    /// What it does wrong. Default: nothing.
    pub misbehaviour: Option<Misbehaviour>,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { message_limit: 128 << 20, misbehaviour: None }
    }
}
