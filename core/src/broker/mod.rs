//! Brokers: the interface between leaders, workers and the system that carries their messages.
//!
//! The protocol assumes little of a [`Broker`]: it may deliver a message several times, in any
//! order and, rarely, not at all.

mod address;
mod consume;
mod delivery;
mod entry;
mod error;
mod health;
mod message;
mod pool;
mod queue;
mod shuffle_queue;
mod url;

use std::fmt;

use async_trait::async_trait;

pub use address::{Address, Exchange, Topic};
pub use consume::ConsumeOptions;
pub use delivery::{Consumption, Delivery, Settle, Settler};
#[doc(hidden)]
pub use entry::PHALANX_BROKERS;
pub use entry::{BrokerEntry, BrokerFuture, ConnectOptions, QueueType, Role, connect};
pub use error::{BrokerError, ConnectError, PublishError};
pub use health::Health;
pub use message::{Message, MessageKind, Properties};
pub use pool::{Pool, PoolNameError};
pub use queue::{DeclaredQueue, QueueAction, QueueSpec};
pub use shuffle_queue::ShuffleQueue;
pub use url::BrokerUrl;
#[doc(hidden)]
pub use url::{UrlParts, is_plain_user};

/// A connection to a broker, which carries messages between leaders and workers.
///
/// Every method can be called from any task. After a lost connection, the broker keeps trying to
/// reconnect; methods that are called meanwhile wait or return an error.
///
/// Implement it, [`Consumer`] and [`Settler`] to use your own broker; `async_trait` is the macro of
/// the crate of that name. The trait may change in any release before 1.0.
///
/// ```
/// use std::sync::{
///     Arc,
///     atomic::{AtomicU64, Ordering},
/// };
///
/// use async_trait::async_trait;
/// use phalanx::{IndexedStream, broker::*, inmemory::InMemoryBroker, operation};
///
/// /// Counts the bytes that are published, and leaves everything else to another broker.
/// #[derive(Debug)]
/// struct Metered<B> {
///     inner: B,
///     bytes: Arc<AtomicU64>,
/// }
///
/// #[async_trait]
/// impl<B: Broker> Broker for Metered<B> {
///     fn url(&self) -> &BrokerUrl {
///         self.inner.url()
///     }
///
///     async fn declare(&self, queue: &QueueSpec) -> Result<DeclaredQueue, BrokerError> {
///         self.inner.declare(queue).await
///     }
///
///     async fn publish(
///         &self,
///         address: &Address,
///         message: Message,
///     ) -> Result<(), PublishError> {
///         self.bytes.fetch_add(message.body.len() as u64, Ordering::Relaxed);
///         self.inner.publish(address, message).await
///     }
///
///     async fn publish_mandatory(
///         &self,
///         address: &Address,
///         message: Message,
///     ) -> Result<bool, PublishError> {
///         self.inner.publish_mandatory(address, message).await
///     }
///
///     async fn consume(
///         &self,
///         queue: &QueueSpec,
///         options: ConsumeOptions,
///     ) -> Result<Box<dyn Consumer>, BrokerError> {
///         self.inner.consume(queue, options).await
///     }
///
///     async fn manage(
///         &self,
///         action: QueueAction,
///         queues: &[ShuffleQueue],
///     ) -> Vec<Result<u64, BrokerError>> {
///         self.inner.manage(action, queues).await
///     }
///
///     async fn delete(&self, queue: &QueueSpec) -> Result<(), BrokerError> {
///         self.inner.delete(queue).await
///     }
///
///     fn health(&self) -> tokio::sync::watch::Receiver<Health> {
///         self.inner.health()
///     }
///
///     async fn close(&self) {
///         self.inner.close().await;
///     }
/// }
///
/// #[operation]
/// fn length(text: &str) -> usize {
///     text.len()
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// let memory = InMemoryBroker::new();
/// memory.start_workers(1);
/// let bytes = Arc::new(AtomicU64::new(0));
/// let metered = Metered { inner: memory.connect(), bytes: bytes.clone() };
///
/// let runtime = phalanx::Runtime::builder().lead(Arc::new(metered)).await?;
/// let text = "a text of 27 characters ...".to_owned();
/// assert_eq!(IndexedStream::from([text]).map(Length).collect(&runtime).await?, [27]);
/// assert!(bytes.load(Ordering::Relaxed) > 27);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Broker: Send + Sync + fmt::Debug + 'static {
    /// The URL of the broker, for logs. Displayed, its secrets are hidden.
    fn url(&self) -> &BrokerUrl;

    /// Makes sure that `queue` exists and is bound. If it exists with other arguments, or the user
    /// may not declare it, the existing queue is used.
    ///
    /// # Errors
    /// If the queue neither exists nor can be declared.
    async fn declare(&self, queue: &QueueSpec) -> Result<DeclaredQueue, BrokerError>;

    /// Publishes a message; resolves when the broker has confirmed it.
    ///
    /// Concurrent calls are pipelined in the order in which they are first polled. If the future is
    /// dropped, the message may or may not be published.
    ///
    /// # Errors
    /// If the broker did not accept the message, or if that is unknown ([`PublishError::Lost`]).
    async fn publish(&self, address: &Address, message: Message) -> Result<(), PublishError>;

    /// Publishes a message; resolves to `false` if it was unroutable: no queue received it.
    ///
    /// Pipelined like [`publish`](Self::publish), and in no order with it. Blocks have a window of
    /// their own, so nothing else waits behind them.
    ///
    /// # Errors
    /// Those of [`publish`](Self::publish).
    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError>;

    /// Declares the queue, unless the consumer is passive, and consumes from it.
    ///
    /// The consumer survives lost connections: it declares and consumes again, and then yields
    /// [`Consumption::Resumed`]. A passive one ends instead.
    ///
    /// # Errors
    /// If the queue cannot be declared or consumed from. [`BrokerError::InUse`] if one of its
    /// consumers is exclusive, or this one and there are others; [`BrokerError::Absent`] if the
    /// consumer is passive and the queue does not exist.
    async fn consume(
        &self,
        queue: &QueueSpec,
        options: ConsumeOptions,
    ) -> Result<Box<dyn Consumer>, BrokerError>;

    /// Declares, renews, checks or deletes many queues of blocks, pipelined. The outcomes are in
    /// the order of the queues: the number of messages that waited in each, or why it failed.
    ///
    /// Repeated after a lost connection. If the future is dropped, some of the queues may have been
    /// processed.
    ///
    /// # Errors
    /// For each queue: [`BrokerError::Absent`] if it is renewed or checked and does not exist;
    /// [`BrokerError::NodeDown`] if it is inaccessible; otherwise why the broker refused it.
    async fn manage(
        &self,
        action: QueueAction,
        queues: &[ShuffleQueue],
    ) -> Vec<Result<u64, BrokerError>>;

    /// Deletes a queue with its messages. Succeeds if the queue does not exist.
    ///
    /// # Errors
    /// If the broker refuses, or the connection is lost.
    async fn delete(&self, queue: &QueueSpec) -> Result<(), BrokerError>;

    /// The state of the connection, as it changes.
    fn health(&self) -> tokio::sync::watch::Receiver<Health>;

    /// Sends pending publishes and acks, and disconnects. All later calls fail.
    async fn close(&self);
}

/// A stream of deliveries from one queue, from [`Broker::consume`].
///
/// When it is dropped, the broker requeues all of its unsettled deliveries. When it is dropped
/// after [`cancel`](Consumer::cancel), deliveries that were yielded can still be settled, and only
/// those that were not yielded are requeued.
///
/// ```
/// use std::collections::VecDeque;
///
/// use async_trait::async_trait;
/// use phalanx::broker::{BrokerError, Consumer, Consumption};
///
/// /// A consumer of deliveries that are in memory already.
/// #[derive(Debug)]
/// struct Fixed(VecDeque<Consumption>);
///
/// #[async_trait]
/// impl Consumer for Fixed {
///     async fn next(&mut self) -> Option<Consumption> {
///         self.0.pop_front()
///     }
///
///     fn try_next(&mut self) -> Option<Consumption> {
///         self.0.pop_front()
///     }
///
///     async fn set_prefetch(&mut self, _prefetch: u16) {}
///
///     async fn cancel(&mut self) {}
///
///     fn error(&self) -> Option<BrokerError> {
///         None
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut consumer = Fixed([Consumption::Resumed { generation: 2 }].into());
/// assert!(matches!(consumer.next().await, Some(Consumption::Resumed { generation: 2 })));
/// assert!(consumer.next().await.is_none());
/// # }
/// ```
#[async_trait]
pub trait Consumer: Send + fmt::Debug {
    /// The next delivery; `None` after [`cancel`](Self::cancel), after the broker was closed, and
    /// after a passive consumer was interrupted.
    ///
    /// Cancel-safe: no delivery is lost when the future is dropped.
    async fn next(&mut self) -> Option<Consumption>;

    /// The next delivery, if it has already arrived.
    fn try_next(&mut self) -> Option<Consumption>;

    /// Changes the limit of unsettled deliveries. Nothing comes back as redelivered because of it,
    /// so a lower limit may take effect only when as many deliveries are unsettled as before, or
    /// when none arrive. Does nothing for an exclusive consumer.
    async fn set_prefetch(&mut self, prefetch: u16);

    /// Stops consuming. [`next`](Self::next) still yields deliveries that have arrived, and all of
    /// them can still be settled.
    async fn cancel(&mut self);

    /// Why a passive consumer was interrupted: [`BrokerError::Absent`] if its queue was deleted,
    /// [`BrokerError::NodeDown`], [`BrokerError::AckTimeout`], or [`BrokerError::Lost`] if none of
    /// these is known. `None` for others, and while it consumes.
    fn error(&self) -> Option<BrokerError>;
}
