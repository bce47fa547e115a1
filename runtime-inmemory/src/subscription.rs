//! The broker's side of a consumer: what it has taken, and how it is settled.

use std::sync::{Arc, Mutex};

use phalanx_core::broker::{Address, Delivery, Exchange, Settle, Settler};
use tokio::sync::{Notify, futures::Notified};

use crate::{
    acker::Unsettled,
    lock::lock,
    queue::{Queue, Queued, Subscriber},
    topology::Topology,
};

/// A message that came back more often than this goes to the dead letters.
const DELIVERY_LIMIT: u32 = 1_000;

/// The broker's side of a consumer: what it has taken and not yet settled.
#[derive(Debug)]
pub(crate) struct Subscription {
    topology: Arc<Topology>,
    changed: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Whence `unsettled` came.
    queue: Arc<Queue>,
    unsettled: Unsettled,
    prefetch: usize,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Live,
    /// Its connection broke or its queue was deleted; it has not come back yet.
    Interrupted,
    /// It takes no more, and may settle what it has.
    Cancelled,
    /// It has nothing any more.
    Ended,
}

/// What an attempt to take a message comes to.
pub(crate) enum Taken {
    Delivery(Delivery),
    /// As much is out as may be.
    Full,
    /// Nothing is in the queue.
    Empty(Arc<Queue>),
    Interrupted,
    Ended,
}

impl Subscription {
    /// Of this queue, to which it is not attached yet.
    pub(crate) fn new(topology: Arc<Topology>, queue: Arc<Queue>, prefetch: u16) -> Self {
        let state = State {
            queue,
            unsettled: Unsettled::default(),
            prefetch: usize::from(prefetch.max(1)),
            phase: Phase::Live,
        };
        Self { topology, changed: Notify::new(), state: Mutex::new(state) }
    }

    /// The next message, if it may have one.
    pub(crate) fn take(self: &Arc<Self>) -> Taken {
        let (message, redelivered, tag) = {
            let mut state = lock(&self.state);
            match state.phase {
                Phase::Live => {}
                Phase::Interrupted => return Taken::Interrupted,
                Phase::Cancelled | Phase::Ended => return Taken::Ended,
            }
            if state.unsettled.len() >= state.prefetch {
                return Taken::Full;
            }
            let Some(queued) = state.queue.pop() else {
                return Taken::Empty(state.queue.clone());
            };
            let (message, redelivered) = (queued.message.clone(), queued.returns > 0);
            (message, redelivered, state.unsettled.add(queued))
        };
        // The properties are copied here, not under the lock.
        Taken::Delivery(Delivery::new((*message).clone(), redelivered, tag, self.clone()))
    }

    /// Goes on with this queue after an interruption; `false` when it was not interrupted.
    pub(crate) fn resume(&self, queue: Arc<Queue>) -> bool {
        let mut state = lock(&self.state);
        if state.phase != Phase::Interrupted {
            return false;
        }
        state.phase = Phase::Live;
        state.queue = queue;
        true
    }

    /// Resolves when it may take again, and when it is interrupted or ended.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(crate) fn set_prefetch(&self, prefetch: u16) {
        lock(&self.state).prefetch = usize::from(prefetch.max(1));
    }

    /// It takes no more, and what it held goes back.
    pub(crate) fn end(&self) {
        self.lose(|_| Phase::Ended);
    }

    /// Its consumer is gone. What it held goes back, unless it was cancelled: then those who hold
    /// the deliveries settle them.
    pub(crate) fn let_go(&self) {
        if lock(&self.state).phase != Phase::Cancelled {
            self.end();
        }
    }

    fn lose(&self, next: impl Fn(Phase) -> Phase) {
        let (queue, unsettled) = {
            let mut state = lock(&self.state);
            state.phase = next(state.phase);
            (state.queue.clone(), state.unsettled.take_all())
        };
        queue.detach(self);
        self.give_back(&queue, unsettled);
        self.topology.delete_if_exclusive(&queue);
        self.changed.notify_one();
    }

    /// It takes no more.
    pub(crate) fn cancel(&self) {
        let queue = {
            let mut state = lock(&self.state);
            match state.phase {
                Phase::Live | Phase::Interrupted => state.phase = Phase::Cancelled,
                Phase::Cancelled | Phase::Ended => return,
            }
            state.queue.clone()
        };
        queue.detach(self);
        self.topology.delete_if_exclusive(&queue);
    }

    fn give_back(&self, queue: &Queue, mut returned: Vec<Queued>) {
        returned.retain_mut(|queued| {
            queued.returns += 1;
            let limited = queue.kind.dead_letters.is_some();
            let keep = !limited || queued.returns <= DELIVERY_LIMIT;
            if !keep {
                self.dead_letter(queue, queued);
            }
            keep
        });
        if !returned.is_empty() {
            queue.put_back(returned);
        }
    }

    fn dead_letter(&self, queue: &Queue, queued: &Queued) {
        if let Some(pool) = &queue.kind.dead_letters {
            let address = Address::new(Exchange::Dead, pool.as_str());
            self.topology.route(&address, &queued.message, None);
        }
    }
}

impl Subscriber for Subscription {
    fn interrupt(&self) {
        self.lose(|phase| match phase {
            Phase::Live => Phase::Interrupted,
            other => other,
        });
    }
}

impl Settler for Subscription {
    fn settle(&self, tag: u64, settle: Settle) {
        let (queue, queued, was_full) = {
            let mut state = lock(&self.state);
            let was_full = state.unsettled.len() >= state.prefetch;
            let Some(queued) = state.unsettled.take(tag) else { return };
            (state.queue.clone(), queued, was_full)
        };
        match settle {
            Settle::Ack => {}
            Settle::Reject => self.dead_letter(&queue, &queued),
            Settle::Requeue => self.give_back(&queue, vec![queued]),
        }
        if was_full {
            self.changed.notify_one();
        }
    }
}
