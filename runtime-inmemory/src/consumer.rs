//! Takes messages from one queue.

use std::sync::Arc;

use async_trait::async_trait;
use phalanx_core::broker::{BrokerError, Consumer, Consumption, QueueSpec};

use crate::{
    connection::Connection,
    queue::{Queue, Subscriber},
    subscription::{Subscription, Taken},
};

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
        let topology = connection.topology.clone();
        let subscription = Arc::new(Subscription::new(topology, queue.clone(), prefetch));
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
            // Live before it is attached: who deletes the queue from here on either finds the
            // consumer in it and interrupts it, or lets `attach` fail.
            if !self.subscription.resume(queue.clone()) {
                return None;
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
            let changed = self.subscription.changed();
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
        self.subscription.set_prefetch(prefetch);
    }

    async fn cancel(&mut self) {
        self.subscription.cancel();
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.subscription.let_go();
    }
}
