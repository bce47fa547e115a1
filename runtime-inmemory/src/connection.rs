//! One connection to the broker: what goes when it goes, and what comes back with it.

use std::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicBool, Ordering},
};

use phalanx_core::broker::Health;
use tokio::sync::watch;

use crate::{lock::lock, queue::Subscriber, subscription::Subscription, topology::Topology};

/// One connection. There is no wire: what it stands for is what is lost when it breaks.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) topology: Arc<Topology>,
    health: watch::Sender<Health>,
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

    /// From now on the consumer goes when the connection goes.
    pub(crate) fn add(&self, consumer: &Arc<Subscription>) {
        let mut consumers = lock(&self.consumers);
        consumers.retain(|known| known.strong_count() > 0);
        consumers.push(Arc::downgrade(consumer));
        drop(consumers);
        // Whoever closed in between did not find this consumer in the list.
        if self.is_closed() {
            consumer.end();
        }
    }

    /// Breaks, and comes back at once. Consumers hear of it when they next look.
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
        tracing::debug!(connection = self.id, generation = self.generation(), "interrupted");
    }

    /// Goes for good.
    pub(crate) fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.health.send_modify(|health| health.connected = false);
        self.each_consumer(Subscription::end);
        self.topology.delete_owned(self.id);
    }

    fn each_consumer(&self, act: impl Fn(&Subscription)) {
        // Acting takes other locks: not under this one.
        let consumers: Vec<_> = lock(&self.consumers).iter().filter_map(Weak::upgrade).collect();
        consumers.iter().for_each(|consumer| act(consumer));
    }
}
