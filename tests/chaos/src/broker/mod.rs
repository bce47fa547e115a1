//! The broker of the scheme `chaos`: RabbitMQ, in a process with [`ProcessFaults`].

mod consumer;
mod entry;
mod reply_counts;

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use phalanx_core::broker::{
    Address, Broker, BrokerError, BrokerUrl, ConsumeOptions, Consumer, DeclaredQueue, Health,
    Message, MessageKind, PublishError, QueueAction, QueueSpec, ShuffleQueue,
};
use tokio::sync::watch;

use consumer::ChaosConsumer;
pub(crate) use entry::is_connected;
pub(crate) use reply_counts::REPLY_COUNTS;

use crate::{Point, ProcessFaults, death};

/// The time for a message to reach the network before its publisher dies.
const WRITE_TIME: Duration = Duration::from_millis(2);

/// A broker whose process has faults.
#[derive(Debug)]
pub(crate) struct ChaosBroker {
    inner: Arc<dyn Broker>,
    faults: ProcessFaults,
    random: Mutex<fastrand::Rng>,
}

impl ChaosBroker {
    pub(crate) fn new(inner: Arc<dyn Broker>, faults: ProcessFaults) -> Self {
        if let Some(death) = faults.death {
            death::arm(death);
        }
        Self { inner, faults, random: Mutex::new(fastrand::Rng::with_seed(faults.seed)) }
    }

    /// A random part of `longest` with the probability `rate`, else `None`.
    fn random_delay(&self, rate: f64, longest: Duration) -> Option<Duration> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        (random.f64() < rate).then(|| longest.mul_f64(random.f64()))
    }

    /// Publishes some of the messages a second time, later.
    fn duplicate(&self, address: &Address, message: &Message) {
        if let Some(later) =
            self.random_delay(self.faults.duplicate, ProcessFaults::LONGEST_DUPLICATE_DELAY)
        {
            let (broker, address) = (Arc::clone(&self.inner), address.clone());
            let message = message.clone();
            tokio::spawn(async move {
                tokio::time::sleep(later).await;
                // A duplicate may be lost.
                let _ = broker.publish(&address, message).await;
            });
        }
    }

    /// The faults before a message is published.
    async fn before(&self, address: &Address, message: &Message) {
        let kind = message.properties.kind;
        if let Some(point) = Point::before(kind) {
            death::reach(point);
        }
        if is_about_a_task(kind) {
            self.duplicate(address, message);
            if let Some(pause) = self.random_delay(self.faults.delay, ProcessFaults::LONGEST_DELAY)
            {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Publishes a message, and dies before or after its confirm if that is due.
    async fn published<T>(
        &self,
        kind: Option<MessageKind>,
        publish: impl Future<Output = Result<T, PublishError>>,
    ) -> Result<T, PublishError> {
        let mut publish = pin!(publish);
        if kind == Some(MessageKind::Result) && death::is_due(Point::Published) {
            // Polled once, which hands the message to the connection. The confirm is never read.
            poll_fn(|context| Poll::Ready(publish.as_mut().poll(context).is_ready())).await;
            tokio::time::sleep(WRITE_TIME).await;
            death::die();
        }
        let outcome = publish.await;
        if let (Ok(_), Some(point)) = (&outcome, Point::after(kind)) {
            death::reach(point);
        }
        outcome
    }
}

/// Whether a message may be duplicated and delayed: tasks, results and returns.
fn is_about_a_task(kind: Option<MessageKind>) -> bool {
    matches!(kind, Some(MessageKind::Task | MessageKind::Result | MessageKind::Return))
}

#[async_trait]
impl Broker for ChaosBroker {
    fn url(&self) -> &BrokerUrl {
        self.inner.url()
    }

    async fn declare(&self, queue: &QueueSpec) -> Result<DeclaredQueue, BrokerError> {
        self.inner.declare(queue).await
    }

    async fn publish(&self, address: &Address, message: Message) -> Result<(), PublishError> {
        let kind = message.properties.kind;
        self.before(address, &message).await;
        self.published(kind, self.inner.publish(address, message)).await
    }

    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        let kind = message.properties.kind;
        self.before(address, &message).await;
        self.published(kind, self.inner.publish_mandatory(address, message)).await
    }

    async fn consume(
        &self,
        queue: &QueueSpec,
        options: ConsumeOptions,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        Ok(Box::new(ChaosConsumer::new(self.inner.consume(queue, options).await?)))
    }

    async fn manage(
        &self,
        action: QueueAction,
        queues: &[ShuffleQueue],
    ) -> Vec<Result<u64, BrokerError>> {
        self.inner.manage(action, queues).await
    }

    async fn delete(&self, queue: &QueueSpec) -> Result<(), BrokerError> {
        self.inner.delete(queue).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.inner.health()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
