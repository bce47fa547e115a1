//! The queues of blocks of the broker double.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use phalanx_core::broker::{
    BrokerError, Consumer, Consumption, Delivery, Message, Properties, Settle, Settler,
    ShuffleQueue,
};
use tokio::sync::Notify;

use crate::lock::lock;

/// Queues of blocks, which tests fill, and workers read.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestQueues(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    queues: Mutex<BTreeMap<ShuffleQueue, TestQueue>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct TestQueue {
    /// The messages by their tags.
    messages: BTreeMap<u64, Bytes>,
    next_tag: u64,
    /// The tag of the first message that was not delivered.
    next: u64,
    has_reader: bool,
    /// The errors of the next attempts to read it.
    refusals: VecDeque<BrokerError>,
    /// Whether its reader gets no messages.
    is_held: bool,
    /// Why its reader is interrupted.
    interruption: Option<BrokerError>,
}

impl TestQueues {
    pub(crate) fn put(&self, queue: ShuffleQueue, message: Bytes) {
        self.change(queue, |queue| {
            queue.messages.insert(queue.next_tag, message);
            queue.next_tag += 1;
        });
    }

    /// Makes the next attempt to read the queue fail.
    pub(crate) fn refuse_next(&self, queue: ShuffleQueue, error: BrokerError) {
        self.change(queue, |queue| queue.refusals.push_back(error));
    }

    /// Keeps the messages of the queue from its reader.
    pub(crate) fn hold(&self, queue: ShuffleQueue, is_held: bool) {
        self.change(queue, |queue| queue.is_held = is_held);
    }

    /// Ends the reader of the queue with this error.
    pub(crate) fn interrupt(&self, queue: ShuffleQueue, error: BrokerError) {
        self.change(queue, |queue| queue.interruption = Some(error));
    }

    pub(crate) fn delete(&self, queue: ShuffleQueue) {
        lock(&self.0.queues).remove(&queue);
        self.0.changed.notify_waiters();
    }

    /// Whether somebody reads the queue.
    pub(crate) fn has_reader(&self, queue: ShuffleQueue) -> bool {
        lock(&self.0.queues).get(&queue).is_some_and(|queue| queue.has_reader)
    }

    /// The number of queues that are being read.
    pub(crate) fn readers(&self) -> usize {
        lock(&self.0.queues).values().filter(|queue| queue.has_reader).count()
    }

    /// Another reader has the queue, or lets go of it.
    pub(crate) fn set_reader(&self, queue: ShuffleQueue, has_reader: bool) {
        self.change(queue, |queue| queue.has_reader = has_reader);
    }

    /// The messages that are in the queue, also those that were delivered and are not acked.
    pub(crate) fn left(&self, queue: ShuffleQueue) -> Vec<Bytes> {
        let queues = lock(&self.0.queues);
        queues.get(&queue).map(|it| it.messages.values().cloned().collect()).unwrap_or_default()
    }

    /// The number of messages that were not delivered.
    pub(super) fn check(&self, queue: ShuffleQueue) -> Result<u64, BrokerError> {
        let queues = lock(&self.0.queues);
        match queues.get(&queue) {
            Some(queue) => Ok(queue.messages.range(queue.next..).count() as u64),
            None => {
                let (what, reason) = (queue.to_string(), "no queue".to_owned());
                Err(BrokerError::Absent { what, reason })
            }
        }
    }

    pub(super) fn read(
        &self,
        queue: ShuffleQueue,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        let mut queues = lock(&self.0.queues);
        let Some(state) = queues.get_mut(&queue) else {
            let (what, reason) = (queue.to_string(), "no queue".to_owned());
            return Err(BrokerError::Absent { what, reason });
        };
        if let Some(error) = state.refusals.pop_front() {
            return Err(error);
        }
        if std::mem::replace(&mut state.has_reader, true) {
            let (what, reason) = (queue.to_string(), "in exclusive use".to_owned());
            return Err(BrokerError::InUse { what, reason });
        }
        let (queues, prefetch, unacked) = (self.clone(), prefetch.into(), Arc::default());
        Ok(Box::new(TestReader { queues, queue, prefetch, unacked, error: None }))
    }

    fn change(&self, queue: ShuffleQueue, change: impl FnOnce(&mut TestQueue)) {
        change(lock(&self.0.queues).entry(queue).or_default());
        self.0.changed.notify_waiters();
    }
}

#[derive(Debug)]
struct TestReader {
    queues: TestQueues,
    queue: ShuffleQueue,
    prefetch: usize,
    /// The deliveries that were not acked.
    unacked: Arc<AtomicUsize>,
    error: Option<BrokerError>,
}

impl TestReader {
    /// `None` if there is no message, and nothing if there is no queue or the reader is
    /// interrupted.
    fn take(&mut self) -> Option<Option<Consumption>> {
        let mut queues = lock(&self.queues.0.queues);
        let Some(queue) = queues.get_mut(&self.queue) else {
            let (what, reason) = (self.queue.to_string(), "deleted".to_owned());
            self.error = Some(BrokerError::Absent { what, reason });
            return Some(None);
        };
        if let Some(interruption) = queue.interruption.take() {
            self.error = Some(interruption);
            return Some(None);
        }
        if self.unacked.load(Ordering::SeqCst) >= self.prefetch || queue.is_held {
            return None;
        }
        let (tag, body) = queue.messages.range(queue.next..).next()?;
        queue.next = tag + 1;
        self.unacked.fetch_add(1, Ordering::SeqCst);
        let message = Message { properties: Properties::default(), body: body.clone() };
        let (queues, unacked) = (self.queues.clone(), Arc::clone(&self.unacked));
        let settler = AckBlocks { queues, queue: self.queue, unacked };
        let delivery = Delivery::new(message, false, *tag, Arc::new(settler));
        Some(Some(Consumption::Delivery(delivery)))
    }
}

#[async_trait]
impl Consumer for TestReader {
    async fn next(&mut self) -> Option<Consumption> {
        let inner = Arc::clone(&self.queues.0);
        loop {
            let changed = inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(taken) = self.take() {
                return taken;
            }
            changed.await;
        }
    }

    fn try_next(&mut self) -> Option<Consumption> {
        self.take().flatten()
    }

    async fn set_prefetch(&mut self, _: u16) {}

    async fn cancel(&mut self) {}

    fn error(&self) -> Option<BrokerError> {
        self.error.clone()
    }
}

impl Drop for TestReader {
    fn drop(&mut self) {
        if let Some(queue) = lock(&self.queues.0.queues).get_mut(&self.queue) {
            queue.has_reader = false;
            queue.next = 0;
        }
    }
}

struct AckBlocks {
    queues: TestQueues,
    queue: ShuffleQueue,
    unacked: Arc<AtomicUsize>,
}

impl Settler for AckBlocks {
    fn settle(&self, tag: u64, settle: Settle) {
        assert_eq!(settle, Settle::Ack, "a reader requeues nothing");
        self.unacked.fetch_sub(1, Ordering::SeqCst);
        self.queues.change(self.queue, |queue| drop(queue.messages.remove(&tag)));
    }
}
