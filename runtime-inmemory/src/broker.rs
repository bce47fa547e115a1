//! The broker: one connection, its publisher and the workers that it has started.

use std::sync::Arc;

use async_trait::async_trait;
use phalanx_core::broker::{
    Address, Broker, BrokerError, BrokerUrl, ConsumeOptions, Consumer, DeclaredQueue, Health,
    Message, PublishError, QueueAction, QueueSpec, ShuffleQueue,
};
use tokio::sync::watch;

use crate::{
    Faults, connection::Connection, consumer::InMemoryConsumer, options::InMemoryOptions,
    publisher::Publisher, routes::describe, topology::Topology, workers::Workers,
};

/// A connection to an in-memory broker.
///
/// [`new`](Self::new) creates a broker and the first connection to it, [`connect`](Self::connect)
/// opens further ones, for example for a second leader. The broker exists as long as one of its
/// connections.
///
/// Closing or dropping a connection has the same effect as with RabbitMQ: its consumers end, their
/// unsettled messages are delivered to others, and its exclusive queues are deleted. Queues are
/// bounded by the flow control of the leader, and otherwise only by memory; nothing is written to
/// disk.
///
/// For a single leader, the URL `memory://` is enough. Create the broker yourself for several
/// leaders, or to inject [`Faults`]:
///
/// ```
/// use std::sync::Arc;
///
/// use phalanx::{inmemory::InMemoryBroker, prelude::*};
///
/// #[operation]
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), phalanx::Error> {
/// let broker = InMemoryBroker::new();
/// broker.start_workers(2);
/// // Two leaders share the workers.
/// let one = Runtime::builder().lead(Arc::new(broker.connect())).await?;
/// let two = Runtime::builder().lead(Arc::new(broker.connect())).await?;
/// let squares = IndexedStream::from(0..3u64).map(Square).collect(&one).await?;
/// assert_eq!(squares, [0, 1, 4]);
/// let squares = IndexedStream::from(3..5u64).map(Square).collect(&two).await?;
/// assert_eq!(squares, [9, 16]);
/// # one.close().await;
/// # two.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct InMemoryBroker {
    url: BrokerUrl,
    connection: Arc<Connection>,
    publisher: Publisher,
    workers: Workers,
}

impl InMemoryBroker {
    /// Creates a broker with the default options.
    pub fn new() -> Self {
        Self::with_options(InMemoryOptions::default())
    }

    /// Creates a broker with these options.
    ///
    /// ```
    /// use phalanx::inmemory::{InMemoryBroker, InMemoryOptions};
    ///
    /// let mut options = InMemoryOptions::default();
    /// options.message_limit = 1 << 20;
    /// let broker = InMemoryBroker::with_options(options);
    /// ```
    pub fn with_options(options: InMemoryOptions) -> Self {
        Self::connected_to(Arc::new(Topology::new(options)))
    }

    /// Creates a broker that injects these faults; see [`Faults`] for an example.
    pub fn with_faults(faults: Faults) -> Self {
        Self::with_options(InMemoryOptions { faults: Some(faults), ..InMemoryOptions::default() })
    }

    /// Opens another connection to the same broker.
    pub fn connect(&self) -> Self {
        Self::connected_to(self.connection.topology.clone())
    }

    /// Breaks this connection, as a network failure would; it reconnects at once.
    ///
    /// Its consumers are interrupted and resume, their unsettled messages are delivered again, and
    /// its exclusive queues are deleted and declared again. Does nothing after `close`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use phalanx::{broker::Broker, inmemory::InMemoryBroker};
    ///
    /// let broker = InMemoryBroker::new();
    /// broker.interrupt();
    /// // It is connected again, for the second time.
    /// assert_eq!(broker.health().borrow().generation, 2);
    /// # }
    /// ```
    pub fn interrupt(&self) {
        self.connection.interrupt();
    }

    /// Starts a worker with `slots` concurrent blocking executions in this process, on its own
    /// connection. It stops with this connection.
    ///
    /// The worker serves the pool `default` and all pools that operations of this program name.
    /// When this connection declares the task queue of another pool, as a leader does before it
    /// uses one, a further worker with as many slots is started for that pool.
    ///
    /// If an operation exceeds its timeout and does not return, its thread is abandoned and lasts
    /// until the process ends. A worker that has abandoned as many threads as it has slots is
    /// replaced. After 1,000 abandoned threads, it is not replaced any more and its pools have no
    /// worker.
    ///
    /// # Panics
    /// If called outside of a Tokio runtime.
    pub fn start_workers(&self, slots: usize) {
        self.start_workers_with(slots, None);
    }

    /// Like [`start_workers`](Self::start_workers), with this many asynchronous slots.
    pub(crate) fn start_workers_with(&self, slots: usize, async_slots: Option<usize>) {
        self.workers.start(slots, async_slots, || Arc::new(self.connect()));
    }

    fn connected_to(topology: Arc<Topology>) -> Self {
        let connection = Connection::open(topology);
        Self {
            url: BrokerUrl::memory(),
            publisher: Publisher::new(connection.clone()),
            connection,
            workers: Workers::default(),
        }
    }

    fn manage_one(&self, action: QueueAction, queue: QueueSpec) -> Result<u64, BrokerError> {
        let connection = self.open_connection()?;
        let topology = &connection.topology;
        let queue = match action {
            QueueAction::Declare => topology.declare(&queue, connection.id)?,
            QueueAction::Renew | QueueAction::Check => topology.find(&queue, connection.id)?,
            QueueAction::Delete => return topology.delete(&queue, connection.id),
            other => {
                return Err(BrokerError::Unusable {
                    what: describe(&queue),
                    reason: format!(
                        "this version of the in-memory broker does not support {other:?}"
                    ),
                });
            }
        };
        let (messages, _) = queue.counts();
        Ok(messages as u64)
    }

    fn open_connection(&self) -> Result<&Arc<Connection>, BrokerError> {
        match self.connection.is_closed() {
            false => Ok(&self.connection),
            true => Err(BrokerError::Closed),
        }
    }
}

impl Default for InMemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for InMemoryBroker {
    fn drop(&mut self) {
        self.connection.close();
    }
}

#[async_trait]
impl Broker for InMemoryBroker {
    fn url(&self) -> &BrokerUrl {
        &self.url
    }

    async fn declare(&self, queue: &QueueSpec) -> Result<DeclaredQueue, BrokerError> {
        let connection = self.open_connection()?;
        if let QueueSpec::Task { pool } = queue {
            self.workers.serve(pool, || Arc::new(self.connect()));
        }
        let queue = connection.topology.declare(queue, connection.id)?;
        let (messages, consumers) = queue.counts();
        Ok(DeclaredQueue::new(messages as u64, consumers as u32, false))
    }

    async fn publish(&self, address: &Address, message: Message) -> Result<(), PublishError> {
        self.publisher.publish(address, message).map(drop)
    }

    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        self.publisher.publish(address, message)
    }

    async fn consume(
        &self,
        queue: &QueueSpec,
        options: ConsumeOptions,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        let connection = self.open_connection()?;
        Ok(Box::new(InMemoryConsumer::new(connection.clone(), queue.clone(), options)?))
    }

    async fn manage(
        &self,
        action: QueueAction,
        queues: &[ShuffleQueue],
    ) -> Vec<Result<u64, BrokerError>> {
        queues.iter().map(|queue| self.manage_one(action, QueueSpec::Shuffle(*queue))).collect()
    }

    async fn delete(&self, queue: &QueueSpec) -> Result<(), BrokerError> {
        let connection = self.open_connection()?;
        connection.topology.delete(queue, connection.id).map(drop)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.connection.health()
    }

    async fn close(&self) {
        self.workers.stop().await;
        self.connection.close();
    }
}

#[cfg(test)]
mod tests;
