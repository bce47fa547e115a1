//! The consumer that [`consume`](phalanx_core::broker::Broker::consume) returns.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use phalanx_core::broker::{BrokerError, ConsumeOptions, Consumer, Consumption, QueueSpec};

use crate::{
    connection::Connection,
    queue::{Attached, Queue, Subscriber},
    routes::describe,
    subscription::{Subscription, Taken},
};

/// Takes messages from one queue, and resumes after every interruption unless it is passive.
#[derive(Debug)]
pub(crate) struct InMemoryConsumer {
    connection: Arc<Connection>,
    spec: QueueSpec,
    options: ConsumeOptions,
    subscription: Arc<Subscription>,
    /// Why it ended; only if it is passive.
    error: OnceLock<BrokerError>,
}

impl InMemoryConsumer {
    pub(crate) fn new(
        connection: Arc<Connection>,
        spec: QueueSpec,
        options: ConsumeOptions,
    ) -> Result<Self, BrokerError> {
        let topology = connection.topology.clone();
        let queue = match options.passive {
            false => topology.declare(&spec, connection.id)?,
            true => topology.find(&spec, connection.id)?,
        };
        let prefetch = match options.prefetch {
            u16::MAX if options.exclusive => usize::MAX,
            prefetch => usize::from(prefetch.max(1)),
        };
        let subscription = Arc::new(Subscription::new(topology, queue.clone(), prefetch));
        match queue.attach(&subscription, options.exclusive) {
            Attached::Consuming => {}
            Attached::InUse => return Err(in_use(&spec)),
            // Since it was declared or found: the first poll resumes or ends the consumer.
            Attached::Deleted => subscription.interrupt(),
        }
        connection.add(&subscription);
        Ok(Self { connection, spec, options, subscription, error: OnceLock::new() })
    }

    /// Ends a passive consumer after an interruption.
    fn end(&self) {
        let found = self.connection.topology.find(&self.spec, self.connection.id);
        let error = found.err().unwrap_or_else(|| BrokerError::Lost {
            reason: "the connection was interrupted".to_owned(),
        });
        let _ = self.error.set(error);
        self.subscription.end();
    }

    /// Declares the queue and consumes from it again; `None` if that is impossible, which ends the
    /// consumer.
    fn resume(&self) -> Option<Consumption> {
        loop {
            if self.connection.is_closed() {
                self.subscription.end();
                return None;
            }
            if self.options.passive {
                self.end();
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
            match queue.attach(&self.subscription, self.options.exclusive) {
                Attached::Consuming => {
                    let generation = self.connection.generation();
                    return Some(Consumption::Resumed { generation });
                }
                Attached::Deleted => self.subscription.interrupt(),
                Attached::InUse => {
                    let error = in_use(&self.spec);
                    tracing::error!(queue = ?self.spec, %error, "cannot consume again; ending");
                    self.subscription.end();
                    return None;
                }
            }
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

fn in_use(spec: &QueueSpec) -> BrokerError {
    BrokerError::InUse {
        what: describe(spec),
        reason: "one of its consumers is exclusive".to_owned(),
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
        if !self.options.exclusive {
            self.subscription.set_prefetch(prefetch);
        }
    }

    async fn cancel(&mut self) {
        self.subscription.cancel();
    }

    fn error(&self) -> Option<BrokerError> {
        self.error.get().cloned()
    }
}

impl Drop for InMemoryConsumer {
    fn drop(&mut self) {
        self.subscription.release();
    }
}
