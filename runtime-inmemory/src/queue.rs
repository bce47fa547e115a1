//! One queue: its messages, and how consumers are woken for them.

use std::{
    collections::VecDeque,
    ptr::addr_eq,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use phalanx_core::broker::{Message, Pool};
use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

use crate::lock::lock;

/// A message that waits in a queue or is held by a consumer.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    /// Shared with the copies in other queues.
    pub(crate) message: Arc<Message>,
    /// How often it was delivered and requeued.
    pub(crate) returns: u32,
}

/// The properties of a queue, fixed when it is declared.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueueKind {
    /// The connection that the queue is exclusive to: no other may use it, and it is deleted with
    /// that connection. `None` for shared queues.
    pub(crate) owner: Option<u64>,
    /// How long the queue exists without a consumer; `None` is forever.
    pub(crate) expires: Option<Duration>,
    /// The most that the queue holds before it drops the oldest messages. `None` if flow control
    /// bounds it: a leader never has more tasks in a queue than its credit allows.
    pub(crate) capacity: Option<Capacity>,
    /// The pool whose dead-letter queue receives rejected messages; `None` drops them.
    pub(crate) dead_letters: Option<Pool>,
}

/// The most that a queue holds. A single message may be larger than `bytes`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// The interface of a consumer to its queue.
pub(crate) trait Subscriber: Send + Sync {
    /// Requeues the unsettled messages of the consumer, because its connection is lost or its queue
    /// is deleted.
    fn interrupt(&self);
}

/// The outcome of [`Queue::attach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attached {
    Consuming,
    /// There are other consumers, and one of them is exclusive.
    InUse,
    Deleted,
}

/// A queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) kind: QueueKind,
    state: Mutex<State>,
    /// Notified once for each message.
    arrived: Notify,
}

#[derive(Debug)]
struct State {
    ready: VecDeque<Queued>,
    /// The bodies of `ready`, in bytes.
    bytes: usize,
    consumers: Vec<Weak<dyn Subscriber>>,
    /// Whether the one consumer is exclusive; meaningless without consumers.
    is_exclusive: bool,
    /// When it lost its last consumer or was last declared, whichever is later.
    idle_since: Instant,
    /// Whether the queue was deleted. Holders of a reference can then neither push nor pop.
    deleted: bool,
}

impl Queue {
    pub(crate) fn new(kind: QueueKind) -> Self {
        let state = State {
            ready: VecDeque::new(),
            bytes: 0,
            consumers: Vec::new(),
            is_exclusive: false,
            idle_since: Instant::now(),
            deleted: false,
        };
        Self { kind, state: Mutex::new(state), arrived: Notify::new() }
    }

    /// Appends a message, or inserts it at the index `position` modulo the number of possible ones.
    /// Returns `false` if the queue was deleted or has expired.
    pub(crate) fn push(&self, message: Arc<Message>, position: Option<u64>) -> bool {
        {
            let mut state = lock(&self.state);
            if state.deleted || self.has_expired(&state) {
                return false;
            }
            let queued = Queued { message, returns: 0 };
            state.bytes += queued.message.body.len();
            match position {
                None => state.ready.push_back(queued),
                Some(position) => {
                    let index = (position % (state.ready.len() as u64 + 1)) as usize;
                    state.ready.insert(index, queued);
                }
            }
            self.drop_oldest(&mut state);
        }
        // Each message wakes one consumer. A consumer whose future is dropped after it was woken
        // passes the wake-up on (`Notified` does). So no message waits while a consumer is idle,
        // and none wakes all consumers.
        self.arrived.notify_one();
        true
    }

    /// Requeues messages before all others, in the order in which they were delivered.
    pub(crate) fn requeue(&self, returned: Vec<Queued>) {
        let count = returned.len();
        {
            let mut state = lock(&self.state);
            if state.deleted {
                return;
            }
            for queued in returned.into_iter().rev() {
                state.bytes += queued.message.body.len();
                state.ready.push_front(queued);
            }
            self.drop_oldest(&mut state);
        }
        for _ in 0..count {
            self.arrived.notify_one();
        }
    }

    /// Removes and returns the oldest message.
    pub(crate) fn pop(&self) -> Option<Queued> {
        let mut state = lock(&self.state);
        let queued = state.ready.pop_front()?;
        state.bytes -= queued.message.body.len();
        Some(queued)
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.state).ready.is_empty()
    }

    /// Resolves when a message may have arrived for the caller. Cancel-safe: dropped after it was
    /// woken, it wakes another waiter.
    pub(crate) fn arrived(&self) -> Notified<'_> {
        self.arrived.notified()
    }

    /// Adds a consumer unless it is already attached.
    pub(crate) fn attach<S: Subscriber + 'static>(
        &self,
        consumer: &Arc<S>,
        exclusive: bool,
    ) -> Attached {
        let mut state = lock(&self.state);
        if state.deleted {
            return Attached::Deleted;
        }
        if !state.consumers.iter().any(|known| addr_eq(known.as_ptr(), Arc::as_ptr(consumer))) {
            if !state.consumers.is_empty() && (exclusive || state.is_exclusive) {
                return Attached::InUse;
            }
            state.consumers.push(Arc::<S>::downgrade(consumer));
            state.is_exclusive = exclusive;
        }
        Attached::Consuming
    }

    /// Removes a consumer; the expiry counts from now.
    pub(crate) fn detach(&self, consumer: &dyn Subscriber) {
        let mut state = lock(&self.state);
        state.consumers.retain(|known| !addr_eq(known.as_ptr(), consumer));
        state.idle_since = Instant::now();
    }

    /// Restarts the expiry. Returns `false` if the queue was deleted or has expired.
    pub(crate) fn renew(&self) -> bool {
        let mut state = lock(&self.state);
        if state.deleted || self.has_expired(&state) {
            return false;
        }
        state.idle_since = Instant::now();
        true
    }

    /// Deletes the queue and its messages, and returns its consumers.
    pub(crate) fn delete(&self) -> Vec<Arc<dyn Subscriber>> {
        let (dropped, consumers) = {
            let mut state = lock(&self.state);
            state.deleted = true;
            state.bytes = 0;
            (std::mem::take(&mut state.ready), std::mem::take(&mut state.consumers))
        };
        // Dropping many messages takes time, so it happens outside the lock.
        drop(dropped);
        consumers.iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.has_expired(&lock(&self.state))
    }

    /// The numbers of waiting messages and of consumers.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.ready.len(), state.consumers.len())
    }

    fn has_expired(&self, state: &State) -> bool {
        self.kind.expires.is_some_and(|expires| {
            state.consumers.is_empty() && state.idle_since.elapsed() >= expires
        })
    }

    fn drop_oldest(&self, state: &mut State) {
        let Some(capacity) = self.kind.capacity else { return };
        while state.ready.len() > capacity.messages
            || (state.bytes > capacity.bytes && state.ready.len() > 1)
        {
            let Some(oldest) = state.ready.pop_front() else { return };
            state.bytes -= oldest.message.body.len();
        }
    }
}
