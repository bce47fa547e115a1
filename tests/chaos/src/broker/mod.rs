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
use phalanx_core::{
    broker::{
        Address, Broker, BrokerError, BrokerUrl, ConsumeOptions, Consumer, DeclaredQueue, Health,
        Message, MessageKind, PublishError, QueueAction, QueueSpec, ShuffleQueue,
    },
    wire::{TaskInlet, TaskMessage},
};
use tokio::sync::watch;

use consumer::{ChaosConsumer, Source};
pub(crate) use entry::is_connected;
pub(crate) use reply_counts::REPLY_COUNTS;

use crate::{Point, ProcessFaults, incident};

/// The time for a message to reach the network before an incident of its publisher.
const WRITE_TIME: Duration = Duration::from_millis(2);
/// The longest time from an incident to the loss of the connection that it causes.
const LOSS_TIME: Duration = Duration::from_secs(5);

/// A broker whose process has faults.
#[derive(Debug)]
pub(crate) struct ChaosBroker {
    inner: Arc<dyn Broker>,
    faults: ProcessFaults,
    random: Mutex<fastrand::Rng>,
}

impl ChaosBroker {
    pub(crate) fn new(inner: Arc<dyn Broker>, faults: ProcessFaults) -> Self {
        incident::arm(&faults.incidents);
        if !faults.incidents.is_empty() {
            tokio::spawn(watch(inner.health()));
        }
        let random = Mutex::new(fastrand::Rng::with_seed(faults.seed));
        Self { inner, faults, random }
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
        if let Some(point) = Point::before(kind, address) {
            self.reach(point).await;
        }
        if incident::is_next(Point::Sealed) && reads_queues(message) {
            self.reach(Point::Sealed).await;
        }
        if is_about_a_task(kind) {
            self.duplicate(address, message);
            if let Some(pause) = self.random_delay(self.faults.delay, ProcessFaults::LONGEST_DELAY)
            {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Publishes a message, and lets happen what is due before or after its confirm.
    async fn published<T>(
        &self,
        kind: Option<MessageKind>,
        address: &Address,
        publish: impl Future<Output = Result<T, PublishError>>,
    ) -> Result<T, PublishError> {
        let mut publish = pin!(publish);
        let mut outcome = None;
        if let Some(incident) = Point::amid(kind, address).and_then(incident::take) {
            // Polled once, which hands the message to the connection.
            outcome = poll_fn(|context| {
                Poll::Ready(match publish.as_mut().poll(context) {
                    Poll::Ready(outcome) => Some(outcome),
                    Poll::Pending => None,
                })
            })
            .await;
            tokio::time::sleep(WRITE_TIME).await;
            if incident::happen(incident) {
                self.lost().await;
            }
        }
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => publish.await,
        };
        if let (Ok(_), Some(point)) = (&outcome, Point::after(kind, address)) {
            self.reach(point).await;
        }
        outcome
    }

    /// Counts a visit to a point, and lets happen what is due.
    async fn reach(&self, point: Point) {
        if incident::reach(point) {
            self.lost().await;
        }
    }

    /// Waits until the connections are lost, which somebody is about to cut.
    async fn lost(&self) {
        let mut health = self.inner.health();
        let generation = health.borrow().generation;
        let is_lost = health.wait_for(|it| !it.connected || it.generation != generation);
        // They may have been lost before.
        let _ = tokio::time::timeout(LOSS_TIME, is_lost).await;
    }
}

/// Lets the next incident happen whenever the connections were lost and are back.
async fn watch(mut health: watch::Receiver<Health>) {
    let mut generation = health.borrow().generation;
    // Fails when the broker object is gone.
    while let Ok(now) = health.wait_for(|it| it.connected && it.generation > generation).await {
        generation = now.generation;
        incident::reconnected();
    }
}

/// Whether a message may be duplicated and delayed: tasks, results, returns and blocks.
fn is_about_a_task(kind: Option<MessageKind>) -> bool {
    use MessageKind::{Block, Result, Return, Task};
    matches!(kind, Some(Task | Result | Return | Block))
}

/// Whether a message is a task that reads queues of blocks.
fn reads_queues(message: &Message) -> bool {
    message.properties.kind == Some(MessageKind::Task)
        && TaskMessage::decode(&message.body)
            .is_ok_and(|task| matches!(task.header.inlet, TaskInlet::Queues(_)))
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
        self.published(kind, address, self.inner.publish(address, message)).await
    }

    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        let kind = message.properties.kind;
        self.before(address, &message).await;
        self.published(kind, address, self.inner.publish_mandatory(address, message)).await
    }

    async fn consume(
        &self,
        queue: &QueueSpec,
        options: ConsumeOptions,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        let consumer = self.inner.consume(queue, options).await?;
        let source = Source::of(queue);
        if source == Source::Partition {
            self.reach(Point::Opened).await;
        }
        Ok(Box::new(ChaosConsumer::new(consumer, source)))
    }

    async fn manage(
        &self,
        action: QueueAction,
        queues: &[ShuffleQueue],
    ) -> Vec<Result<u64, BrokerError>> {
        match action {
            QueueAction::Declare => self.reach(Point::Declaring).await,
            QueueAction::Delete => self.reach(Point::Deleting).await,
            _ => {}
        }
        let outcomes = self.inner.manage(action, queues).await;
        if action == QueueAction::Declare {
            self.reach(Point::Declared).await;
        }
        outcomes
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
