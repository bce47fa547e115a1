//! Takes messages from one queue, and settles them.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use phalanx_core::broker::{
    Address, BrokerError, Consumer, Consumption, Delivery, Exchange, QueueSpec, Settle, Settler,
};
use tokio::sync::Notify;

use crate::{
    acker::Unsettled,
    connection::Connection,
    lock::lock,
    queue::{Queue, Queued},
    topology::Topology,
};

/// A message that came back more often than this goes to the dead letters.
const DELIVERY_LIMIT: u32 = 1_000;

/// The broker's side of a consumer: what it has taken and not yet settled.
#[derive(Debug)]
pub(crate) struct Subscription {
    topology: Arc<Topology>,
    /// Called when it may take again, and when it is interrupted or ended.
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
enum Taken {
    Delivery(Delivery),
    /// As much is out as may be.
    Full,
    /// Nothing is in the queue.
    Empty(Arc<Queue>),
    Interrupted,
    Ended,
}

impl Subscription {
    fn take(self: &Arc<Self>) -> Taken {
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

    /// Its connection broke, or its queue was deleted: what it held goes back.
    pub(crate) fn interrupt(&self) {
        self.lose(|phase| match phase {
            Phase::Live => Phase::Interrupted,
            other => other,
        });
    }

    /// It takes no more, and what it held goes back.
    pub(crate) fn end(&self) {
        self.lose(|_| Phase::Ended);
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
    fn cancel(&self) {
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
            let keep = queued.returns <= DELIVERY_LIMIT;
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

/// Takes messages from one queue.
#[derive(Debug)]
pub(crate) struct MemoryConsumer {
    connection: Arc<Connection>,
    spec: QueueSpec,
    subscription: Arc<Subscription>,
}

impl MemoryConsumer {
    pub(crate) fn new(
        connection: Arc<Connection>,
        spec: QueueSpec,
        prefetch: u16,
    ) -> Result<Self, BrokerError> {
        let queue = connection.topology.declare(&spec, connection.id)?;
        let subscription = Arc::new(Subscription {
            topology: connection.topology.clone(),
            changed: Notify::new(),
            state: Mutex::new(State {
                queue: queue.clone(),
                unsettled: Unsettled::default(),
                prefetch: usize::from(prefetch.max(1)),
                phase: Phase::Live,
            }),
        });
        if !queue.attach(&subscription) {
            // Deleted since it was declared: the first look brings the consumer back.
            subscription.interrupt();
        }
        connection.add(&subscription);
        Ok(Self { connection, spec, subscription })
    }

    /// Declares and consumes again; `None` when that cannot be.
    fn resume(&self) -> Option<Consumption> {
        loop {
            if self.connection.is_closed() {
                self.subscription.end();
                return None;
            }
            let queue = match self.connection.topology.declare(&self.spec, self.connection.id) {
                Ok(queue) => queue,
                Err(error) => {
                    tracing::error!(queue = ?self.spec, %error, "a consumer cannot come back");
                    self.subscription.end();
                    return None;
                }
            };
            {
                let mut state = lock(&self.subscription.state);
                if state.phase != Phase::Interrupted {
                    return None;
                }
                // Live before it is attached: who deletes the queue from here on either finds the
                // consumer in it and interrupts it, or lets `attach` fail.
                state.phase = Phase::Live;
                state.queue = queue.clone();
            }
            if queue.attach(&self.subscription) {
                return Some(Consumption::Resumed { generation: self.connection.generation() });
            }
            self.subscription.interrupt();
        }
    }

    /// What can be had at once, or what there is to wait for.
    fn look(&self) -> Result<Option<Consumption>, Wait> {
        match self.subscription.take() {
            Taken::Delivery(delivery) => {
                self.connection.interrupt_by_chance();
                Ok(Some(Consumption::Delivery(delivery)))
            }
            Taken::Interrupted => Ok(self.resume()),
            Taken::Ended => Ok(None),
            Taken::Full => Err(Wait::Settled),
            Taken::Empty(queue) => Err(Wait::Arrived(queue)),
        }
    }
}

/// What a consumer waits for.
enum Wait {
    Settled,
    Arrived(Arc<Queue>),
}

#[async_trait]
impl Consumer for MemoryConsumer {
    // Cancel-safe: a message is taken in `look`, and between that and the return there is no await.
    async fn next(&mut self) -> Option<Consumption> {
        loop {
            let changed = self.subscription.changed.notified();
            match self.look() {
                Ok(consumption) => return consumption,
                Err(Wait::Settled) => changed.await,
                Err(Wait::Arrived(queue)) => {
                    let mut arrived = std::pin::pin!(queue.arrived());
                    arrived.as_mut().enable();
                    // A message may have come after the look and before the registration.
                    if queue.is_empty() {
                        tokio::select! {
                            () = arrived => {}
                            () = changed => {}
                        }
                    }
                }
            }
        }
    }

    fn try_next(&mut self) -> Option<Consumption> {
        self.look().ok().flatten()
    }

    async fn set_prefetch(&mut self, prefetch: u16) {
        lock(&self.subscription.state).prefetch = usize::from(prefetch.max(1));
    }

    async fn cancel(&mut self) {
        self.subscription.cancel();
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.subscription.end();
    }
}
