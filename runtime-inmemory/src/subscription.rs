//! The broker's side of a consumer: which deliveries it holds, and how they are settled.

use std::sync::{Arc, Mutex};

use phalanx_core::broker::{Address, Delivery, Settle, Settler};
use tokio::sync::{Notify, futures::Notified};

use crate::{
    lock::lock,
    queue::{Queue, Queued, Subscriber},
    topology::Topology,
    unsettled::Unsettled,
};

/// A task that is requeued more often than this becomes a dead letter, as with the
/// `x-delivery-limit` of a quorum queue.
const DELIVERY_LIMIT: u32 = 1_000;

/// The broker's side of a consumer.
#[derive(Debug)]
pub(crate) struct Subscription {
    topology: Arc<Topology>,
    /// Wakes the consumer when it can take again, and when it is interrupted or ended.
    changed: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The queue that `unsettled` was taken from.
    queue: Arc<Queue>,
    unsettled: Unsettled,
    prefetch: usize,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It consumes.
    Live,
    /// Its connection was lost or its queue deleted, and it has not resumed yet.
    Interrupted,
    /// The user has cancelled it; it takes nothing more, and may settle its deliveries.
    Cancelled,
    /// Its connection is closed or its consumer dropped: it holds nothing.
    Ended,
}

/// The result of an attempt to take a message.
pub(crate) enum Taken {
    Delivery(Delivery),
    /// The prefetch is used up.
    Full,
    /// The queue is empty.
    Empty(Arc<Queue>),
    Interrupted,
    Ended,
}

impl Subscription {
    /// Consumes from `queue` once it is attached there with [`Queue::attach`], with at most this
    /// many unsettled deliveries at once.
    pub(crate) fn new(topology: Arc<Topology>, queue: Arc<Queue>, prefetch: usize) -> Self {
        let state = State { queue, unsettled: Unsettled::default(), prefetch, phase: Phase::Live };
        Self { topology, changed: Notify::new(), state: Mutex::new(state) }
    }

    /// Takes the next message, as far as phase and prefetch allow.
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
        // Copies the properties, so it happens outside the lock.
        Taken::Delivery(Delivery::new((*message).clone(), redelivered, tag, self.clone()))
    }

    /// Consumes from `queue` after an interruption. Returns `false` if it was cancelled or ended
    /// meanwhile.
    pub(crate) fn resume(&self, queue: Arc<Queue>) -> bool {
        let mut state = lock(&self.state);
        if state.phase != Phase::Interrupted {
            return false;
        }
        state.phase = Phase::Live;
        state.queue = queue;
        true
    }

    /// Resolves when it can take again, and when it is interrupted or ended.
    ///
    /// If it is created before an attempt to take, it misses no change: `notify_one` leaves a
    /// permit for it.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Takes effect at the next attempt to take. No consumer needs to be woken: it is mutably
    /// borrowed for this call, so it is not waiting.
    pub(crate) fn set_prefetch(&self, prefetch: u16) {
        lock(&self.state).prefetch = usize::from(prefetch.max(1));
    }

    /// Ends it and requeues its deliveries.
    pub(crate) fn end(&self) {
        self.lose(|_| Phase::Ended);
    }

    /// Ends it because its consumer is dropped. After [`cancel`](Self::cancel) it does nothing: the
    /// holders of the deliveries still settle them.
    pub(crate) fn release(&self) {
        if lock(&self.state).phase != Phase::Cancelled {
            self.end();
        }
    }

    /// Enters the phase `next` and requeues the deliveries.
    fn lose(&self, next: impl Fn(Phase) -> Phase) {
        let (queue, unsettled) = {
            let mut state = lock(&self.state);
            state.phase = next(state.phase);
            (state.queue.clone(), state.unsettled.take_all())
        };
        queue.detach(self);
        self.requeue(&queue, unsettled);
        self.topology.delete_if_unused(&queue);
        self.changed.notify_one();
    }

    /// Takes nothing more; its deliveries can still be settled.
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
        self.topology.delete_if_unused(&queue);
    }

    /// Requeues messages; those that exceed the delivery limit of a task queue become dead letters.
    fn requeue(&self, queue: &Queue, mut returned: Vec<Queued>) {
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
            queue.requeue(returned);
        }
    }

    fn dead_letter(&self, queue: &Queue, queued: &Queued) {
        if let Some(pool) = &queue.kind.dead_letters {
            self.topology.route(&Address::dead_letters(pool), &queued.message, None);
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
            Settle::Requeue => self.requeue(&queue, vec![queued]),
        }
        if was_full {
            self.changed.notify_one();
        }
    }
}
