//! One queue: messages that wait, and who is told of them.

use std::{
    collections::VecDeque,
    ptr::addr_eq,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use phalanx_core::broker::Message;
use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

use crate::lock::lock;

/// A message that waits, or waits to be settled.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(crate) message: Arc<Message>,
    /// How many times it has been handed out and came back.
    pub(crate) returns: u32,
}

/// What a queue is, from its declaration on.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueueKind {
    /// The connection that it goes with, and that alone may use it.
    pub(crate) owner: Option<u64>,
    /// How long it outlives its last consumer.
    pub(crate) expires: Option<Duration>,
    /// The most messages that it holds; the oldest goes first. `None` where flow control elsewhere
    /// bounds it: a leader has no more tasks out than its credit.
    pub(crate) capacity: Option<Capacity>,
    /// The pool to whose dead letters a rejected message goes.
    pub(crate) dead_letters: Option<String>,
}

/// The most that a queue holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// Whoever takes from a queue, as the queue knows it.
pub(crate) trait Subscriber: Send + Sync {
    /// Its connection broke, or its queue was deleted: what it held goes back.
    fn interrupt(&self);
}

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) kind: QueueKind,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug)]
struct State {
    ready: VecDeque<Queued>,
    /// The bodies of `ready`, in bytes.
    bytes: usize,
    consumers: Vec<Weak<dyn Subscriber>>,
    /// Since when it has had no consumer, or was last declared.
    idle_since: Instant,
    /// Deleted: whoever still knows it can neither push nor pop.
    gone: bool,
}

impl Queue {
    pub(crate) fn new(kind: QueueKind) -> Self {
        let state = State {
            ready: VecDeque::new(),
            bytes: 0,
            consumers: Vec::new(),
            idle_since: Instant::now(),
            gone: false,
        };
        Self { kind, state: Mutex::new(state), arrived: Notify::new() }
    }

    /// Puts a message behind the others, or anywhere (`place` is any number). `false` when the
    /// queue is no more.
    pub(crate) fn push(&self, message: Arc<Message>, place: Option<u64>) -> bool {
        {
            let mut state = lock(&self.state);
            if state.gone || self.has_expired(&state) {
                return false;
            }
            let queued = Queued { message, returns: 0 };
            state.bytes += queued.message.body.len();
            match place {
                None => state.ready.push_back(queued),
                Some(place) => {
                    let at = (place % (state.ready.len() as u64 + 1)) as usize;
                    state.ready.insert(at, queued);
                }
            }
            self.drop_oldest(&mut state);
        }
        // Each message wakes one consumer, and one that was woken in vain (its future was dropped)
        // passes the call on: so no message waits beside an idle consumer, and no message wakes a herd.
        self.arrived.notify_one();
        true
    }

    /// Puts back what was handed out, before all others and in the order in which it was handed out.
    pub(crate) fn put_back(&self, returned: Vec<Queued>) {
        let count = returned.len();
        {
            let mut state = lock(&self.state);
            if state.gone {
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

    /// The message that is next.
    pub(crate) fn pop(&self) -> Option<Queued> {
        let mut state = lock(&self.state);
        let queued = state.ready.pop_front()?;
        state.bytes -= queued.message.body.len();
        Some(queued)
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.state).ready.is_empty()
    }

    /// Resolves when a message may have come for whoever waits here.
    pub(crate) fn arrived(&self) -> Notified<'_> {
        self.arrived.notified()
    }

    /// Adds a consumer, once. `false` when the queue is no more.
    pub(crate) fn attach<S: Subscriber + 'static>(&self, consumer: &Arc<S>) -> bool {
        let mut state = lock(&self.state);
        if state.gone {
            return false;
        }
        if !state.consumers.iter().any(|known| addr_eq(known.as_ptr(), Arc::as_ptr(consumer))) {
            state.consumers.push(Arc::<S>::downgrade(consumer));
        }
        true
    }

    /// Removes a consumer.
    pub(crate) fn detach(&self, consumer: &dyn Subscriber) {
        let mut state = lock(&self.state);
        state.consumers.retain(|known| !addr_eq(known.as_ptr(), consumer));
        state.idle_since = Instant::now();
    }

    /// Counts the time without a consumer anew, unless it is over. `false` when the queue is no more.
    pub(crate) fn renew(&self) -> bool {
        let mut state = lock(&self.state);
        if state.gone || self.has_expired(&state) {
            return false;
        }
        state.idle_since = Instant::now();
        true
    }

    /// Deletes it with all that is in it, and gives its consumers.
    pub(crate) fn delete(&self) -> Vec<Arc<dyn Subscriber>> {
        let (dropped, consumers) = {
            let mut state = lock(&self.state);
            state.gone = true;
            state.bytes = 0;
            (std::mem::take(&mut state.ready), std::mem::take(&mut state.consumers))
        };
        // Many messages take their time to drop: not under the lock.
        drop(dropped);
        consumers.iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.has_expired(&lock(&self.state))
    }

    /// Messages that wait, and consumers.
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
