//! One connection to the broker: the state that is lost with it, and how it reconnects.

use std::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicBool, Ordering},
};

use phalanx_core::broker::Health;
use tokio::sync::watch;

use crate::{
    fault_injector::FaultInjector, lock::lock, queue::Subscriber, subscription::Subscription,
    topology::Topology,
};

/// A connection. It transports nothing, but owns the state that is lost with it: consumers, their
/// unsettled deliveries and exclusive queues.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Unique among the connections of the broker; never reused.
    pub(crate) id: u64,
    pub(crate) topology: Arc<Topology>,
    health: watch::Sender<Health>,
    /// Set once, by `close`. See `add` for the race between the two.
    closed: AtomicBool,
    consumers: Mutex<Vec<Weak<Subscription>>>,
}

impl Connection {
    pub(crate) fn open(topology: Arc<Topology>) -> Arc<Self> {
        let mut health = Health::default();
        health.generation = 1;
        health.connected = true;
        Arc::new(Self {
            id: topology.next_connection(),
            topology,
            health: watch::Sender::new(health),
            closed: AtomicBool::new(false),
            consumers: Mutex::new(Vec::new()),
        })
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.health.borrow().generation
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Interrupts and ends the consumer with the connection from now on.
    pub(crate) fn add(&self, consumer: &Arc<Subscription>) {
        let mut consumers = lock(&self.consumers);
        consumers.retain(|known| known.strong_count() > 0);
        consumers.push(Arc::downgrade(consumer));
        drop(consumers);
        // `close` sets the flag before it locks the list. Either it finds this consumer in the
        // list, or it locked the list first, and this load sees the flag.
        if self.is_closed() {
            consumer.end();
        }
    }

    /// Loses the connection and reconnects at once. Consumers resume at their next poll.
    pub(crate) fn interrupt(&self) {
        if self.is_closed() {
            return;
        }
        self.health.send_modify(|health| health.connected = false);
        self.topology.delete_owned(self.id);
        self.each_consumer(Subscription::interrupt);
        self.health.send_modify(|health| {
            health.generation += 1;
            health.connected = !self.is_closed();
        });
        tracing::debug!(
            connection = self.id,
            generation = self.generation(),
            "connection interrupted"
        );
    }

    /// Closes permanently: ends all consumers and deletes the exclusive queues. A second call does
    /// nothing.
    pub(crate) fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.health.send_modify(|health| health.connected = false);
        self.each_consumer(Subscription::end);
        self.topology.delete_owned(self.id);
    }

    /// Loses the connection if the fault injector decides so for this delivery.
    pub(crate) fn inject_disconnect(&self) {
        if self.topology.faults.as_ref().is_some_and(FaultInjector::disconnects_consumer) {
            self.interrupt();
        }
    }

    fn each_consumer(&self, act: impl Fn(&Subscription)) {
        // `act` takes other locks, so it runs outside this one.
        let consumers: Vec<_> = lock(&self.consumers).iter().filter_map(Weak::upgrade).collect();
        consumers.iter().for_each(|consumer| act(consumer));
    }
}
