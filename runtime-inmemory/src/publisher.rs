//! Publishes messages: routes them to queues, with the faults that are injected.

use std::{sync::Arc, time::Duration};

use phalanx_core::broker::{Address, Message, PublishError};
use tokio::runtime::Handle;

use crate::{connection::Connection, fault_injector::PublishFaults};

/// Publishes messages on one connection.
#[derive(Debug)]
pub(crate) struct Publisher {
    connection: Arc<Connection>,
}

impl Publisher {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    /// Queues a message; returns whether a queue got it. A message that is delayed or lost by an
    /// injected fault counts as queued.
    pub(crate) fn publish(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        if self.connection.is_closed() {
            return Err(PublishError::Closed);
        }
        let topology = &self.connection.topology;
        let (size, limit) = (message.body.len() as u64, topology.options.message_limit);
        if size > limit {
            return Err(PublishError::TooLarge { size, limit });
        }
        let message = Arc::new(message);
        match &topology.faults {
            None => Ok(topology.route(address, &message, None)),
            Some(injector) => self.publish_with(injector.next_publish(), address, message),
        }
    }

    fn publish_with(
        &self,
        faults: PublishFaults,
        address: &Address,
        message: Arc<Message>,
    ) -> Result<bool, PublishError> {
        let mut routed = faults.copies == 0;
        for _ in 0..faults.copies {
            match faults.delay {
                Some(delay) if self.route_later(delay, faults.position, address, &message) => {
                    routed = true;
                }
                _ => routed |= self.connection.topology.route(address, &message, faults.position),
            }
        }
        if faults.disconnect {
            self.connection.interrupt();
            return Err(PublishError::Lost);
        }
        Ok(routed)
    }

    /// Routes a message after `delay`. Returns `false` outside of a Tokio runtime, which has no
    /// timer.
    fn route_later(
        &self,
        delay: Duration,
        position: Option<u64>,
        address: &Address,
        message: &Arc<Message>,
    ) -> bool {
        let Ok(runtime) = Handle::try_current() else { return false };
        // Weak: a delayed message does not keep the broker alive.
        let topology = Arc::downgrade(&self.connection.topology);
        let (address, message) = (address.clone(), message.clone());
        runtime.spawn(async move {
            tokio::time::sleep(delay).await;
            if let Some(topology) = topology.upgrade() {
                topology.route(&address, &message, position);
            }
        });
        true
    }
}
