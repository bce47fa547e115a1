//! The consumer that [`consume`](phalanx_core::broker::Broker::consume) returns.

use std::sync::Arc;

use async_trait::async_trait;
use phalanx_core::broker::{BrokerError, Consumer, Consumption, QueueSpec};

use crate::{
    connection::Connection,
    queue::{Queue, Subscriber},
    subscription::{Subscription, Taken},
};

/// Takes messages from one queue, and resumes after every interruption.
#[derive(Debug)]
pub(crate) struct InMemoryConsumer {
    connection: Arc<Connection>,
    spec: QueueSpec,
    subscription: Arc<Subscription>,
}

impl InMemoryConsumer {
    pub(crate) fn new(
        connection: Arc<Connection>,
        spec: QueueSpec,
        prefetch: u16,
    ) -> Result<Self, BrokerError> {
        let queue = connection.topology.declare(&spec, connection.id)?;
        let topology = connection.topology.clone();
        let subscription = Arc::new(Subscription::new(topology, queue.clone(), prefetch));
        if !queue.attach(&subscription) {
            // The queue was deleted since it was declared: the first poll resumes the consumer.
            subscription.interrupt();
        }
        connection.add(&subscription);
        Ok(Self { connection, spec, subscription })
    }

    /// Declares the queue and consumes from it again; `None` if that is impossible, which ends the
    /// consumer.
    fn resume(&self) -> Option<Consumption> {
        loop {
            if self.connection.is_closed() {
                self.subscription.end();
                return None;
            }
            let queue = match self.connection.topology.declare(&self.spec, self.connection.id) {
                Ok(queue) => queue,
                Err(error) => {
                    tracing::error!(queue = ?self.spec, %error, "cannot consume again; ending");
                    self.subscription.end();
                    return None;
                }
            };
            // Live before it is attached: if the queue is deleted from here on, either the deletion
            // finds the consumer in it and interrupts it, or `attach` fails.
            if !self.subscription.resume(queue.clone()) {
                return None;
            }
            if queue.attach(&self.subscription) {
                return Some(Consumption::Resumed { generation: self.connection.generation() });
            }
            self.subscription.interrupt();
        }
    }

    /// What is available now, or what to wait for.
    fn poll(&self) -> Result<Option<Consumption>, Wait> {
        match self.subscription.take() {
            Taken::Delivery(delivery) => {
                self.connection.inject_disconnect();
                Ok(Some(Consumption::Delivery(delivery)))
            }
            Taken::Interrupted => Ok(self.resume()),
            Taken::Ended => Ok(None),
            Taken::Full => Err(Wait::Settled),
            Taken::Empty(queue) => Err(Wait::Arrived(queue)),
        }
    }
}

/// The event that a consumer waits for.
enum Wait {
    /// Until something is settled: the prefetch is used up.
    Settled,
    /// Until a message arrives in the queue.
    Arrived(Arc<Queue>),
}

#[async_trait]
impl Consumer for InMemoryConsumer {
    // Cancel-safe: `poll` takes a message, and nothing is awaited between that and the return.
    async fn next(&mut self) -> Option<Consumption> {
        loop {
            let changed = self.subscription.changed();
            match self.poll() {
                Ok(consumption) => return consumption,
                Err(Wait::Settled) => changed.await,
                Err(Wait::Arrived(queue)) => {
                    let mut arrived = std::pin::pin!(queue.arrived());
                    arrived.as_mut().enable();
                    // A message that arrived between `poll` and `enable` has woken no consumer.
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
        self.poll().ok().flatten()
    }

    async fn set_prefetch(&mut self, prefetch: u16) {
        self.subscription.set_prefetch(prefetch);
    }

    async fn cancel(&mut self) {
        self.subscription.cancel();
    }
}

impl Drop for InMemoryConsumer {
    fn drop(&mut self) {
        self.subscription.release();
    }
}
