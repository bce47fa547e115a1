//! RabbitMQ as a process sees it that has bad habits: the broker of the scheme `chaos`.

mod census;
mod consumer;
mod entry;

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use phalanx_core::broker::{
    Address, Broker, BrokerError, BrokerUrl, Consumer, DeclaredQueue, Health, Message, MessageKind,
    PublishError, QueueSpec,
};
use tokio::sync::watch;

pub(crate) use census::CENSUS;
use consumer::ChaosConsumer;
pub(crate) use entry::is_connected;

use crate::{Habits, Point, death};

/// How long a message may take to be on the wire before its publisher dies.
const ON_ITS_WAY: Duration = Duration::from_millis(2);

/// A broker whose process has bad habits.
#[derive(Debug)]
pub(crate) struct ChaosBroker {
    inner: Arc<dyn Broker>,
    habits: Habits,
    chance: Mutex<fastrand::Rng>,
}

impl ChaosBroker {
    pub(crate) fn new(inner: Arc<dyn Broker>, habits: Habits) -> Self {
        if let Some(death) = habits.death {
            death::arm(death);
        }
        Self { inner, habits, chance: Mutex::new(fastrand::Rng::with_seed(habits.seed)) }
    }

    /// A part of `longest`, with this probability.
    fn by_chance(&self, rate: f64, longest: Duration) -> Option<Duration> {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        (chance.f64() < rate).then(|| longest.mul_f64(chance.f64()))
    }

    /// Says it again, some time.
    fn echo(&self, address: &Address, message: &Message) {
        if let Some(later) = self.by_chance(self.habits.echo, Habits::LATEST) {
            let (broker, address) = (Arc::clone(&self.inner), address.clone());
            let message = message.clone();
            tokio::spawn(async move {
                tokio::time::sleep(later).await;
                // An echo that fades away is none.
                let _ = broker.publish(&address, message).await;
            });
        }
    }
}

/// Tasks and what is said of them: what may come twice and late.
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
        if let Some(point) = Point::before(kind) {
            death::reach(point);
        }
        if is_about_a_task(kind) {
            self.echo(address, &message);
            if let Some(pause) = self.by_chance(self.habits.late, Habits::LONGEST) {
                tokio::time::sleep(pause).await;
            }
        }
        let mut publish = pin!(self.inner.publish(address, message));
        if kind == Some(MessageKind::Result) && death::is_due(Point::Answered) {
            // Whatever the broker may say meanwhile, nobody hears it.
            poll_fn(|context| Poll::Ready(publish.as_mut().poll(context).is_ready())).await;
            tokio::time::sleep(ON_ITS_WAY).await;
            death::die();
        }
        let outcome = publish.await;
        if let (Ok(()), Some(point)) = (&outcome, Point::after(kind)) {
            death::reach(point);
        }
        outcome
    }

    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        self.inner.publish_mandatory(address, message).await
    }

    async fn consume(
        &self,
        queue: &QueueSpec,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        Ok(Box::new(ChaosConsumer::new(self.inner.consume(queue, prefetch).await?)))
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
