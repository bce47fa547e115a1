//! The options of the in-memory broker.

use crate::Faults;

/// The options of an [`InMemoryBroker`](crate::InMemoryBroker).
///
/// ```
/// use phalanx::inmemory::{InMemoryBroker, InMemoryOptions};
///
/// let mut options = InMemoryOptions::default();
/// options.message_limit = 16 << 20; // As RabbitMQ 4.x.
/// let broker = InMemoryBroker::with_options(options);
/// # drop(broker);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct InMemoryOptions {
    /// The largest message body that the broker accepts, in bytes; publishing a larger one fails
    /// with `PublishError::TooLarge`. Default: 128 MiB, as RabbitMQ 3.10.
    pub message_limit: u64,
    /// The faults that the broker injects. Default: none.
    pub faults: Option<Faults>,
}

impl Default for InMemoryOptions {
    fn default() -> Self {
        Self { message_limit: 128 << 20, faults: None }
    }
}
