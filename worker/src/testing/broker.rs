//! A scripted broker double: confirms, holds confirms, refuses, loses, redelivers, reconnects.

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
    Address, Broker, BrokerError, BrokerUrl, ConsumeOptions, Consumer, Consumption, DeclaredQueue,
    Delivery, Exchange, Health, Message, PublishError, QueueAction, QueueSpec, Settle, Settler,
    ShuffleQueue,
};
use tokio::sync::{Notify, watch};

use super::TestQueues;

/// A broker double. By default it confirms every message and delivers every task once; the test
/// scripts everything else.
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
    queues: TestQueues,
}

#[derive(Debug, Default)]
struct State {
    tasks: VecDeque<(Message, bool)>,
    control: VecDeque<Message>,
    /// Confirmed messages, in order.
    published: Vec<(Address, Message)>,
    /// Settled deliveries of tasks, in order.
    settled: Vec<(u64, Settle)>,
    /// The errors of the next publishes on the reply exchange; later ones are confirmed.
    refusals: VecDeque<PublishError>,
    /// The errors of the next publishes of blocks.
    block_refusals: VecDeque<PublishError>,
    /// Whether publishes of blocks wait for their confirms.
    holds_blocks: bool,
    /// Whether publishes on the reply exchange wait for their confirms.
    holds_confirms: bool,
    /// Whether mandatory messages are unroutable, and how many were.
    unroutable: bool,
    unroutable_blocks: bool,
    dropped: usize,
    /// Publishes on the reply exchange that wait.
    waiting: usize,
    /// Publishes on the reply exchange that have failed.
    refused: usize,
    /// The prefetches of consumers of task queues, in order.
    prefetches: Vec<u16>,
    /// Consumers of task queues.
    consumers: usize,
    /// Why further consumers of task queues are refused.
    refuses_consumers: Option<BrokerError>,
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
                queues: TestQueues::default(),
            }),
        }
    }

    /// The queues of blocks.
    pub(crate) fn queues(&self) -> &TestQueues {
        &self.inner.queues
    }

    /// Puts a task into the queue; one that is `redelivered` is flagged so.
    pub(crate) fn send_task(&self, message: Message, redelivered: bool) {
        self.change(|state| state.tasks.push_back((message, redelivered)));
    }

    pub(crate) fn send_control(&self, message: Message) {
        self.change(|state| state.control.push_back(message));
    }

    /// Makes the next publish on the reply exchange fail.
    pub(crate) fn refuse_next(&self, error: PublishError) {
        self.change(|state| state.refusals.push_back(error));
    }

    /// Refuses consumers of task queues, or admits them again.
    pub(crate) fn refuse_consumers(&self, error: Option<BrokerError>) {
        self.change(|state| state.refuses_consumers = error);
    }

    /// Makes the next publish of a block fail.
    pub(crate) fn refuse_block(&self, error: PublishError) {
        self.change(|state| state.block_refusals.push_back(error));
    }

    /// Holds the confirms of blocks, or releases them.
    pub(crate) fn hold_blocks(&self, hold: bool) {
        self.change(|state| state.holds_blocks = hold);
    }

    /// Holds the confirms of the reply exchange, or releases them.
    pub(crate) fn hold_confirms(&self, hold: bool) {
        self.change(|state| state.holds_confirms = hold);
    }

    /// Makes mandatory messages unroutable, or routable again.
    pub(crate) fn set_routable(&self, routable: bool) {
        self.change(|state| state.unroutable = !routable);
    }

    /// Makes blocks unroutable, or routable again.
    pub(crate) fn set_blocks_routable(&self, routable: bool) {
        self.change(|state| state.unroutable_blocks = !routable);
    }

    /// How many messages were unroutable.
    pub(crate) fn dropped(&self) -> usize {
        self.inspect(|state| state.dropped)
    }

    /// Loses the connection, and connects again at once.
    pub(crate) fn reconnect(&self) {
        self.inner.health.send_modify(|health| health.generation += 1);
        self.inner.changed.notify_waiters();
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.inner.health.send_modify(|health| health.connected = connected);
    }

    /// The messages that were published on `exchange`, in order.
    pub(crate) fn published(&self, exchange: Exchange) -> Vec<Message> {
        self.inspect(|state| {
            let on = state.published.iter().filter(|(address, _)| address.exchange == exchange);
            on.map(|(_, message)| message.clone()).collect()
        })
    }

    /// Replies and leases that wait for their confirms.
    pub(crate) fn waiting(&self) -> usize {
        self.inspect(|state| state.waiting)
    }

    /// Replies and leases that were refused.
    pub(crate) fn refused(&self) -> usize {
        self.inspect(|state| state.refused)
    }

    pub(crate) fn settled(&self) -> Vec<(u64, Settle)> {
        self.inspect(|state| state.settled.clone())
    }

    /// Tasks that were delivered.
    pub(crate) fn delivered(&self) -> u64 {
        self.inner.next_tag.load(Ordering::SeqCst) - 1
    }

    pub(crate) fn prefetches(&self) -> Vec<u16> {
        self.inspect(|state| state.prefetches.clone())
    }

    pub(crate) fn consumers(&self) -> usize {
        self.inspect(|state| state.consumers)
    }

    /// The order of `confirm`s of replies and `settle`s of deliveries.
    pub(crate) fn log(&self) -> Vec<&'static str> {
        self.inspect(|state| state.log.clone())
    }

    fn inspect<R>(&self, inspect: impl FnOnce(&State) -> R) -> R {
        inspect(&self.inner.state.lock().expect("no panic poisons it"))
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.inner.state.lock().expect("no panic poisons it"));
        self.inner.changed.notify_waiters();
        result
    }

    /// Waits until `attempt` returns a value.
    async fn when<R>(&self, mut attempt: impl FnMut(&mut State) -> Option<R>) -> R {
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(result) =
                attempt(&mut self.inner.state.lock().expect("no panic poisons it"))
            {
                return result;
            }
            changed.await;
        }
    }
}

/// Waits until `condition` holds, which may depend on threads outside of Tokio.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let polling = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let polled = tokio::time::timeout(Duration::from_secs(30), polling);
    assert!(polled.await.is_ok(), "timed out waiting for: {what}");
}

/// Lets time pass on a paused clock, which does not move by itself while an operation runs on a
/// slot.
pub(crate) async fn pass(time: Duration) {
    let end = tokio::time::Instant::now() + time;
    loop {
        let left = end - tokio::time::Instant::now();
        if left.is_zero() {
            return;
        }
        tokio::time::advance(left.min(Duration::from_millis(100))).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
}

/// Waits until `condition` holds, without letting time pass if the clock of the test is paused: a
/// paused clock advances only when the runtime is idle, and this keeps it busy.
pub(crate) async fn at_once(what: &str, condition: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30), "timed out waiting for: {what}");
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
        let is_reply = address.exchange == Exchange::Reply;
        if address.exchange == Exchange::Shuffle
            && let Some(error) = self.change(|state| state.block_refusals.pop_front())
        {
            return Err(error);
        }
        self.change(|state| state.waiting += usize::from(is_reply));
        self.when(|state| (!is_reply || !state.holds_confirms).then_some(())).await;
        self.change(|state| {
            state.waiting -= usize::from(is_reply);
            if is_reply && let Some(error) = state.refusals.pop_front() {
                state.refused += 1;
                return Err(error);
            }
            if is_reply {
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
        let is_block = address.exchange == Exchange::Shuffle;
        self.when(|state| (!is_block || !state.holds_blocks).then_some(())).await;
        if self.inspect(|state| state.unroutable || (state.unroutable_blocks && is_block)) {
            self.change(|state| state.dropped += 1);
            return Ok(false);
        }
        self.publish(address, message).await.map(|()| true)
    }

    async fn consume(
        &self,
        queue: &QueueSpec,
        options: ConsumeOptions,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        if let QueueSpec::Shuffle(queue) = queue {
            assert!(options.exclusive && options.passive, "{options:?}");
            // Nobody reads while there is no connection, and nothing is refused either.
            let _ = self.health().wait_for(|health| health.connected).await;
            return self.inner.queues.read(*queue, options.prefetch);
        }
        let is_task = matches!(queue, QueueSpec::Task { .. });
        self.change(|state| {
            if is_task {
                state.refuses_consumers.clone().map_or(Ok(()), Err)?;
                state.prefetches.push(options.prefetch);
                state.consumers += 1;
            }
            Ok(())
        })?;
        let (broker, prefetch) = (self.clone(), usize::from(options.prefetch));
        let generation = self.inner.health.borrow().generation;
        let held = Arc::default();
        Ok(Box::new(TestConsumer {
            broker,
            is_task,
            prefetch,
            held,
            generation,
            is_cancelled: false,
        }))
    }

    async fn manage(
        &self,
        action: QueueAction,
        queues: &[ShuffleQueue],
    ) -> Vec<Result<u64, BrokerError>> {
        assert_eq!(action, QueueAction::Check, "workers do nothing else with queues");
        queues.iter().map(|queue| self.inner.queues.check(*queue)).collect()
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
    is_cancelled: bool,
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
        if self.is_cancelled || state.closed {
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
        let mut state = broker.inner.state.lock().expect("no panic poisons it");
        self.take(&mut state).flatten()
    }

    async fn set_prefetch(&mut self, prefetch: u16) {
        self.prefetch = prefetch.into();
        self.broker.change(|state| state.prefetches.push(prefetch));
    }

    async fn cancel(&mut self) {
        self.is_cancelled = true;
        let is_task = self.is_task;
        self.broker.change(|state| state.consumers -= usize::from(is_task));
    }

    fn error(&self) -> Option<BrokerError> {
        None
    }
}
