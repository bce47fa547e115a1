//! A broker double: the test scripts its replies and reads its calls.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Semaphore, watch};

use crate::broker::{
    Address, Broker, BrokerError, BrokerUrl, ConsumeOptions, Consumer, Consumption, DeclaredQueue,
    Delivery, Health, Message, Properties, PublishError, QueueAction, QueueSpec, Settle, Settler,
    ShuffleQueue,
};

/// A broker with one queue. Unless the test scripts something else, it confirms everything at once,
/// and the queue exists and is empty.
#[derive(Debug)]
pub(crate) struct TestBroker {
    url: BrokerUrl,
    /// The declarations and publishes that may be confirmed while the broker holds its confirms.
    confirms: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    holds_confirms: bool,
    publish_errors: VecDeque<PublishError>,
    declare_errors: VecDeque<BrokerError>,
    queue_is_deleted: bool,
    /// The messages that a declaration counts, and those that a consumer is delivered.
    counted: u64,
    delivered: u64,
    calls: Vec<Call>,
    published: Vec<Message>,
    prefetches: Vec<u16>,
    requeued: u64,
}

/// A call of a [`TestBroker`], recorded before the broker replies.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Call {
    Declare(QueueSpec),
    Publish(Address),
    PublishMandatory(Address),
}

impl TestBroker {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            url: BrokerUrl::memory(),
            confirms: Semaphore::new(0),
            state: Mutex::default(),
        })
    }

    /// Confirms nothing from now on, except what [`confirm`](Self::confirm) allows.
    pub(crate) fn hold_confirms(&self) {
        self.state().holds_confirms = true;
    }

    /// Confirms this many declarations and publishes, including those that wait.
    pub(crate) fn confirm(&self, count: usize) {
        self.confirms.add_permits(count);
    }

    /// Replies to the next publish with an error. Further calls script the publishes after it.
    pub(crate) fn refuse_publish(&self, error: PublishError) {
        self.state().publish_errors.push_back(error);
    }

    /// Replies to the next declaration with an error. Further calls script the declarations after
    /// it.
    pub(crate) fn refuse_declare(&self, error: BrokerError) {
        self.state().declare_errors.push_back(error);
    }

    /// Deletes the queue.
    pub(crate) fn delete_queue(&self) {
        self.state().queue_is_deleted = true;
    }

    /// Fills the queue with empty messages: declarations count `counted` of them, but each consumer
    /// is delivered only `delivered`.
    pub(crate) fn fill(&self, counted: u64, delivered: u64) {
        let mut state = self.state();
        (state.counted, state.delivered) = (counted, delivered);
    }

    /// All calls so far, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The messages that were published and confirmed, in order.
    pub(crate) fn published(&self) -> Vec<Message> {
        self.state().published.clone()
    }

    /// The prefetches that consumers asked for, in order.
    pub(crate) fn prefetches(&self) -> Vec<u16> {
        self.state().prefetches.clone()
    }

    /// The number of deliveries that were requeued.
    pub(crate) fn requeued(&self) -> u64 {
        self.state().requeued
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn confirmed(&self) {
        if self.state().holds_confirms {
            self.confirms.acquire().await.expect("the semaphore is never closed").forget();
        }
    }

    async fn take(&self, call: Call, message: Message) -> Result<bool, PublishError> {
        self.state().calls.push(call);
        self.confirmed().await;
        let mut state = self.state();
        if let Some(error) = state.publish_errors.pop_front() {
            return Err(error);
        }
        if !state.queue_is_deleted {
            state.published.push(message);
        }
        Ok(!state.queue_is_deleted)
    }
}

#[async_trait]
impl Broker for Arc<TestBroker> {
    fn url(&self) -> &BrokerUrl {
        &self.url
    }

    async fn declare(&self, queue: &QueueSpec) -> Result<DeclaredQueue, BrokerError> {
        self.state().calls.push(Call::Declare(queue.clone()));
        self.confirmed().await;
        let mut state = self.state();
        match state.declare_errors.pop_front() {
            Some(error) => Err(error),
            None => {
                state.queue_is_deleted = false;
                Ok(DeclaredQueue::new(state.counted, 0, false))
            }
        }
    }

    async fn publish(&self, address: &Address, message: Message) -> Result<(), PublishError> {
        // As at a real broker, an unroutable message is confirmed and dropped.
        self.take(Call::Publish(address.clone()), message).await.map(|_was_routed| ())
    }

    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        self.take(Call::PublishMandatory(address.clone()), message).await
    }

    async fn consume(
        &self,
        _queue: &QueueSpec,
        options: ConsumeOptions,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        let mut state = self.state();
        state.prefetches.push(options.prefetch);
        let undelivered = state.delivered;
        let consumer = TestConsumer {
            broker: Arc::clone(self),
            undelivered,
            prefetch: options.prefetch.into(),
            yielded: 0,
            is_cancelled: false,
        };
        Ok(Box::new(consumer))
    }

    async fn manage(
        &self,
        _action: QueueAction,
        queues: &[ShuffleQueue],
    ) -> Vec<Result<u64, BrokerError>> {
        queues.iter().map(|_| Ok(0)).collect()
    }

    async fn delete(&self, _queue: &QueueSpec) -> Result<(), BrokerError> {
        self.delete_queue();
        Ok(())
    }

    fn health(&self) -> watch::Receiver<Health> {
        watch::channel(Health::default()).1
    }

    async fn close(&self) {}
}

/// A consumer whose deliveries are not settled before it is cancelled.
#[derive(Debug)]
struct TestConsumer {
    broker: Arc<TestBroker>,
    undelivered: u64,
    prefetch: u64,
    yielded: u64,
    is_cancelled: bool,
}

#[async_trait]
impl Consumer for TestConsumer {
    async fn next(&mut self) -> Option<Consumption> {
        match self.try_next() {
            None if !self.is_cancelled => std::future::pending().await,
            next => next,
        }
    }

    fn try_next(&mut self) -> Option<Consumption> {
        if self.yielded == self.prefetch {
            return None;
        }
        self.undelivered = self.undelivered.checked_sub(1)?;
        self.yielded += 1;
        let message = Message { properties: Properties::default(), body: Bytes::new() };
        let settler = Arc::new(CountRequeued(Arc::clone(&self.broker)));
        Some(Consumption::Delivery(Delivery::new(message, false, self.undelivered, settler)))
    }

    async fn set_prefetch(&mut self, prefetch: u16) {
        self.prefetch = prefetch.into();
        self.broker.state().prefetches.push(prefetch);
    }

    async fn cancel(&mut self) {
        self.is_cancelled = true;
    }

    fn error(&self) -> Option<BrokerError> {
        None
    }
}

#[derive(Debug)]
struct CountRequeued(Arc<TestBroker>);

impl Settler for CountRequeued {
    fn settle(&self, _tag: u64, settle: Settle) {
        if settle == Settle::Requeue {
            self.0.state().requeued += 1;
        }
    }
}
