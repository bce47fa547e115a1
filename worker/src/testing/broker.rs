//! A broker whose every answer is the test's.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use phalanx_core::broker::{
    Address, Broker, BrokerError, BrokerUrl, Consumer, Consumption, DeclaredQueue, Delivery,
    Exchange, Health, Message, PublishError, QueueSpec, Settle, Settler,
};
use tokio::sync::{Notify, watch};

/// A broker whose every answer is the test's.
#[derive(Debug, Clone)]
pub(crate) struct TestBroker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: BrokerUrl,
    health: watch::Sender<Health>,
    state: Mutex<State>,
    changed: Notify,
    next_tag: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    tasks: VecDeque<(Message, bool)>,
    control: VecDeque<Message>,
    /// What was published and confirmed, in order.
    published: Vec<(Address, Message)>,
    /// Deliveries as they were settled.
    settled: Vec<(u64, Settle)>,
    /// Answers to the next publishes on the reply exchange; then they succeed.
    refusals: VecDeque<PublishError>,
    /// Publishes on the reply exchange wait while this is so.
    holding: bool,
    /// How many of them do.
    waiting: usize,
    refused: usize,
    /// Prefetches asked for on task queues, in order.
    prefetches: Vec<u16>,
    consumers: usize,
    log: Vec<&'static str>,
    closed: bool,
}

impl TestBroker {
    pub(crate) fn new() -> Self {
        let mut health = Health::default();
        health.connected = true;
        health.generation = 1;
        Self {
            inner: Arc::new(Inner {
                url: BrokerUrl::memory(),
                health: watch::channel(health).0,
                state: Mutex::default(),
                changed: Notify::new(),
                next_tag: AtomicU64::new(1),
            }),
        }
    }

    pub(crate) fn send_task(&self, message: Message, redelivered: bool) {
        self.change(|state| state.tasks.push_back((message, redelivered)));
    }

    pub(crate) fn send_control(&self, message: Message) {
        self.change(|state| state.control.push_back(message));
    }

    pub(crate) fn refuse_next(&self, error: PublishError) {
        self.change(|state| state.refusals.push_back(error));
    }

    pub(crate) fn hold_confirms(&self, holding: bool) {
        self.change(|state| state.holding = holding);
    }

    /// Breaks the connection, and makes a new one at once.
    pub(crate) fn interrupt(&self) {
        self.inner.health.send_modify(|health| health.generation += 1);
        self.inner.changed.notify_waiters();
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.inner.health.send_modify(|health| health.connected = connected);
    }

    /// What was published on `exchange`.
    pub(crate) fn published(&self, exchange: Exchange) -> Vec<Message> {
        self.look(|state| {
            let on = state.published.iter().filter(|(address, _)| address.exchange == exchange);
            on.map(|(_, message)| message.clone()).collect()
        })
    }

    /// How many answers wait to be taken.
    pub(crate) fn waiting(&self) -> usize {
        self.look(|state| state.waiting)
    }

    /// How many answers were not taken.
    pub(crate) fn refused(&self) -> usize {
        self.look(|state| state.refused)
    }

    pub(crate) fn settled(&self) -> Vec<(u64, Settle)> {
        self.look(|state| state.settled.clone())
    }

    /// How many deliveries were handed out.
    pub(crate) fn delivered(&self) -> u64 {
        self.inner.next_tag.load(Ordering::SeqCst) - 1
    }

    pub(crate) fn prefetches(&self) -> Vec<u16> {
        self.look(|state| state.prefetches.clone())
    }

    pub(crate) fn consumers(&self) -> usize {
        self.look(|state| state.consumers)
    }

    /// What happened to answers and deliveries, in order: `confirm` or `settle`.
    pub(crate) fn log(&self) -> Vec<&'static str> {
        self.look(|state| state.log.clone())
    }

    fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.inner.state.lock().expect("no panic holds it"))
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.inner.state.lock().expect("no panic holds it"));
        self.inner.changed.notify_waiters();
        result
    }

    async fn when<R>(&self, mut look: impl FnMut(&mut State) -> Option<R>) -> R {
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(result) = look(&mut self.inner.state.lock().expect("no panic holds it")) {
                return result;
            }
            changed.await;
        }
    }
}

/// Waits until `condition` holds; for conditions that threads outside of tokio bring about.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let looking = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let patience = tokio::time::timeout(Duration::from_secs(30), looking);
    assert!(patience.await.is_ok(), "never came about: {what}");
}

/// Waits until `condition` holds, and lets no time pass meanwhile where the test's clock is paused:
/// it moves on when there is nothing to do, and here there always is.
pub(crate) async fn at_once(what: &str, condition: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30), "never came about: {what}");
        tokio::task::yield_now().await;
    }
}

#[async_trait]
impl Broker for TestBroker {
    fn url(&self) -> &BrokerUrl {
        &self.inner.url
    }

    async fn declare(&self, _: &QueueSpec) -> Result<DeclaredQueue, BrokerError> {
        Ok(DeclaredQueue::default())
    }

    async fn publish(&self, address: &Address, message: Message) -> Result<(), PublishError> {
        let is_answer = address.exchange == Exchange::Reply;
        self.change(|state| state.waiting += usize::from(is_answer));
        self.when(|state| (!is_answer || !state.holding).then_some(())).await;
        self.change(|state| {
            state.waiting -= usize::from(is_answer);
            if is_answer && let Some(error) = state.refusals.pop_front() {
                state.refused += 1;
                return Err(error);
            }
            if is_answer {
                state.log.push("confirm");
            }
            state.published.push((address.clone(), message));
            Ok(())
        })
    }

    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        self.publish(address, message).await.map(|()| true)
    }

    async fn consume(
        &self,
        queue: &QueueSpec,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        let is_task = matches!(queue, QueueSpec::Task { .. });
        self.change(|state| {
            if is_task {
                state.prefetches.push(prefetch);
                state.consumers += 1;
            }
        });
        let (broker, prefetch) = (self.clone(), usize::from(prefetch));
        let generation = self.inner.health.borrow().generation;
        let held = Arc::default();
        Ok(Box::new(TestConsumer { broker, is_task, prefetch, held, generation, over: false }))
    }

    async fn delete(&self, _: &QueueSpec) -> Result<(), BrokerError> {
        Ok(())
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.inner.health.subscribe()
    }

    async fn close(&self) {
        self.change(|state| state.closed = true);
    }
}

#[derive(Debug)]
struct TestConsumer {
    broker: TestBroker,
    is_task: bool,
    prefetch: usize,
    held: Arc<AtomicU64>,
    generation: u64,
    over: bool,
}

struct TestSettler {
    broker: TestBroker,
    is_task: bool,
    held: Arc<AtomicU64>,
}

impl Settler for TestSettler {
    fn settle(&self, tag: u64, settle: Settle) {
        self.held.fetch_sub(1, Ordering::SeqCst);
        self.broker.change(|state| {
            if self.is_task {
                state.settled.push((tag, settle));
                state.log.push("settle");
            }
        });
    }
}

impl TestConsumer {
    fn take(&mut self, state: &mut State) -> Option<Option<Consumption>> {
        if self.over || state.closed {
            return Some(None);
        }
        let generation = self.broker.inner.health.borrow().generation;
        if generation != self.generation {
            self.generation = generation;
            self.held = Arc::default();
            return Some(Some(Consumption::Resumed { generation }));
        }
        if self.held.load(Ordering::SeqCst) >= self.prefetch as u64 {
            return None;
        }
        let (message, redelivered) = match self.is_task {
            true => state.tasks.pop_front()?,
            false => (state.control.pop_front()?, false),
        };
        self.held.fetch_add(1, Ordering::SeqCst);
        let step = u64::from(self.is_task);
        let tag = self.broker.inner.next_tag.fetch_add(step, Ordering::SeqCst);
        let (broker, is_task) = (self.broker.clone(), self.is_task);
        let settler = TestSettler { broker, is_task, held: Arc::clone(&self.held) };
        let delivery = Delivery::new(message, redelivered, tag, Arc::new(settler));
        Some(Some(Consumption::Delivery(delivery)))
    }
}

#[async_trait]
impl Consumer for TestConsumer {
    async fn next(&mut self) -> Option<Consumption> {
        let broker = self.broker.clone();
        broker.when(|state| self.take(state)).await
    }

    fn try_next(&mut self) -> Option<Consumption> {
        let broker = self.broker.clone();
        let mut state = broker.inner.state.lock().expect("no panic holds it");
        self.take(&mut state).flatten()
    }

    async fn set_prefetch(&mut self, prefetch: u16) {
        self.prefetch = prefetch.into();
        self.broker.change(|state| state.prefetches.push(prefetch));
    }

    async fn cancel(&mut self) {
        self.over = true;
        let is_task = self.is_task;
        self.broker.change(|state| state.consumers -= usize::from(is_task));
    }
}
