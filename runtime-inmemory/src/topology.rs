//! Exchanges and queues: which of them exist, and which queues a message is routed to.

use std::sync::{
    Arc, RwLock,
    atomic::{AtomicU64, Ordering},
};

use phalanx_core::broker::{Address, BrokerError, Message, QueueSpec};

use crate::{
    fault_injector::FaultInjector,
    lock::{read, write},
    options::InMemoryOptions,
    queue::Queue,
    routes::{Routes, check_owner, describe},
};

/// The state that all connections to one broker share.
#[derive(Debug)]
pub(crate) struct Topology {
    pub(crate) options: InMemoryOptions,
    pub(crate) faults: Option<FaultInjector>,
    /// How many connections there have been.
    connections: AtomicU64,
    /// Lock order: this, then the lock of a queue. Neither is held while a consumer is interrupted:
    /// a consumer takes its own lock before that of its queue.
    routes: RwLock<Routes>,
}

impl Topology {
    pub(crate) fn new(options: InMemoryOptions) -> Self {
        Self {
            faults: options.faults.clone().map(FaultInjector::new),
            options,
            connections: AtomicU64::new(0),
            routes: RwLock::default(),
        }
    }

    /// The number of a new connection. Relaxed: it only has to be unique.
    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Declares and binds a queue, and its dead-letter queue if it is a task queue.
    pub(crate) fn declare(
        &self,
        spec: &QueueSpec,
        connection: u64,
    ) -> Result<Arc<Queue>, BrokerError> {
        let mut routes = write(&self.routes);
        // Each new leader and worker declares queues, so expired ones do not pile up.
        routes.remove_expired();
        if let QueueSpec::Task { pool } = spec {
            // Without a dead-letter queue, tasks that a worker rejects would be dropped.
            routes.declare(&QueueSpec::Dead { pool: pool.clone() }, connection)?;
        }
        routes.declare(spec, connection)
    }

    /// A queue that exists, and restarts its expiry.
    pub(crate) fn find(
        &self,
        spec: &QueueSpec,
        connection: u64,
    ) -> Result<Arc<Queue>, BrokerError> {
        let queue = read(&self.routes).find(spec).filter(|queue| queue.renew());
        let queue = queue.ok_or_else(|| BrokerError::Absent {
            what: describe(spec),
            reason: "it was never declared, was deleted, or has expired".to_owned(),
        })?;
        check_owner(&queue, spec, connection)?;
        Ok(queue)
    }

    /// Deletes a queue and its messages, and interrupts its consumers. Returns the number of
    /// messages that waited in it.
    pub(crate) fn delete(&self, spec: &QueueSpec, connection: u64) -> Result<u64, BrokerError> {
        let deleted = {
            let mut routes = write(&self.routes);
            if let Some(queue) = routes.find(spec) {
                check_owner(&queue, spec, connection)?;
            }
            routes.remove(spec)
        };
        let Some(queue) = deleted else { return Ok(0) };
        let (messages, _) = queue.counts();
        queue.delete().iter().for_each(|consumer| consumer.interrupt());
        Ok(messages as u64)
    }

    /// Deletes the exclusive queues of this connection.
    pub(crate) fn delete_owned(&self, connection: u64) {
        let owned = |queue: &Queue| queue.kind.owner == Some(connection);
        let removed = write(&self.routes).remove_exclusive(owned);
        for queue in removed {
            queue.delete().iter().for_each(|consumer| consumer.interrupt());
        }
    }

    /// Deletes this queue if it is exclusive and has lost its last consumer.
    pub(crate) fn delete_if_unused(&self, queue: &Arc<Queue>) {
        let (_, consumers) = queue.counts();
        if queue.kind.owner.is_some() && consumers == 0 {
            write(&self.routes).remove_exclusive(|known| std::ptr::eq(known, &**queue));
            queue.delete();
        }
    }

    /// Adds a message to each queue that `address` reaches; returns whether there is one.
    /// `position` is that of [`Queue::push`].
    pub(crate) fn route(
        &self,
        address: &Address,
        message: &Arc<Message>,
        position: Option<u64>,
    ) -> bool {
        read(&self.routes).push(address, message, position)
    }
}
