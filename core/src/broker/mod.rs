//! The seam between what decides and what carries messages.
//!
//! A [`Broker`] delivers at least once, now and then not at all, and in any order. Nothing exact
//! is left to it.

mod delivery;
mod entry;
mod error;
mod health;
mod message;
mod topology;
mod url;

use std::fmt;

use async_trait::async_trait;

pub use delivery::{Consumption, Delivery, Settle, Settler};
pub use entry::{
    BrokerEntry, BrokerFuture, ConnectOptions, PHALANX_BROKERS, QueueType, Role, connect,
};
pub use error::{BrokerError, ConnectError, PublishError};
pub use health::Health;
pub use message::{Address, Exchange, Message, MessageKind, Properties, Topic};
pub use topology::{DeclaredQueue, Pool, PoolNameError, QueueSpec};
pub use url::BrokerUrl;

/// What carries messages: RabbitMQ or memory.
///
/// Every method may be called from any task, and comes back by itself after a lost connection.
#[async_trait]
pub trait Broker: Send + Sync + fmt::Debug + 'static {
    /// The URL it is connected to, without secrets.
    fn url(&self) -> &BrokerUrl;

    /// Makes sure that `queue` exists and is bound; uses what exists where it may not declare.
    ///
    /// # Errors
    /// When the queue neither exists nor may be made.
    async fn declare(&self, queue: &QueueSpec) -> Result<DeclaredQueue, BrokerError>;

    /// Publishes, and resolves when the broker has taken responsibility for the message.
    ///
    /// Concurrent calls are pipelined in the order in which they are first polled; dropping the
    /// future leaves open whether the message was taken.
    ///
    /// # Errors
    /// When the broker did not take it, or when nobody can know ([`PublishError::Lost`]).
    async fn publish(&self, address: &Address, message: Message) -> Result<(), PublishError>;

    /// Publishes, and tells whether any queue got the message: `false` is "unroutable".
    ///
    /// Not pipelined: for probes, not for bulk.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError>;

    /// Declares the queue and consumes from it, at most `prefetch` unsettled deliveries at once.
    ///
    /// The consumer survives lost connections: it declares and consumes again, and says so by
    /// [`Consumption::Resumed`].
    ///
    /// # Errors
    /// When the queue cannot be declared or consumed.
    async fn consume(
        &self,
        queue: &QueueSpec,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, BrokerError>;

    /// Deletes a queue with all that is in it; a queue that does not exist is no error.
    ///
    /// # Errors
    /// When the broker refuses or is gone.
    async fn delete(&self, queue: &QueueSpec) -> Result<(), BrokerError>;

    /// How the connection is, as it changes.
    fn health(&self) -> tokio::sync::watch::Receiver<Health>;

    /// Hands over what is pending (acks included) and disconnects.
    async fn close(&self);
}

/// A stream of deliveries from one queue.
///
/// Dropped, it gives back what it handed out and nobody has settled; dropped after
/// [`cancel`](Consumer::cancel), it leaves those deliveries to who holds them, and gives back only
/// what nobody took.
#[async_trait]
pub trait Consumer: Send + fmt::Debug {
    /// The next delivery; `None` after [`cancel`](Self::cancel) or when the broker was closed.
    ///
    /// Cancel-safe: a delivery is never lost when the future is dropped.
    async fn next(&mut self) -> Option<Consumption>;

    /// A delivery that is already here, without waiting.
    fn try_next(&mut self) -> Option<Consumption>;

    /// Changes how many unsettled deliveries may be out at once.
    async fn set_prefetch(&mut self, prefetch: u16);

    /// Stops taking; what was delivered may still be settled. Buffered deliveries still come out
    /// of [`next`](Self::next).
    async fn cancel(&mut self);
}
