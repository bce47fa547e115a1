//! How a message gets into its queue.

use std::{sync::Arc, time::Duration};

use phalanx_core::broker::{Address, Message, PublishError};
use tokio::runtime::Handle;

use crate::{
    connection::Connection,
    faults::{Chance, Fate},
};

impl Connection {
    /// Queues a message; whether any queue got it.
    pub(crate) fn publish(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        if self.is_closed() {
            return Err(PublishError::Closed);
        }
        let (size, limit) = (message.body.len() as u64, self.topology.options.message_limit);
        if size > limit {
            return Err(PublishError::TooLarge { size, limit });
        }
        let message = Arc::new(message);
        match &self.topology.chance {
            None => Ok(self.topology.route(address, &message, None)),
            Some(chance) => self.publish_by_chance(chance.fate(), address, message),
        }
    }

    fn publish_by_chance(
        &self,
        fate: Fate,
        address: &Address,
        message: Arc<Message>,
    ) -> Result<bool, PublishError> {
        let mut routed = fate.copies == 0;
        for _ in 0..fate.copies {
            match fate.delay {
                Some(delay) if self.route_later(delay, fate.place, address, &message) => {
                    routed = true;
                }
                _ => routed |= self.topology.route(address, &message, fate.place),
            }
        }
        if fate.disconnect {
            self.interrupt();
            return Err(PublishError::Lost);
        }
        Ok(routed)
    }

    /// Routes a message when `delay` is over. `false` where no runtime can keep the time.
    fn route_later(
        &self,
        delay: Duration,
        place: Option<u64>,
        address: &Address,
        message: &Arc<Message>,
    ) -> bool {
        let Ok(runtime) = Handle::try_current() else { return false };
        let topology = Arc::downgrade(&self.topology);
        let (address, message) = (address.clone(), message.clone());
        runtime.spawn(async move {
            tokio::time::sleep(delay).await;
            if let Some(topology) = topology.upgrade() {
                topology.route(&address, &message, place);
            }
        });
        true
    }

    /// Breaks the connection if that is what happens under this delivery.
    pub(crate) fn interrupt_by_chance(&self) {
        if self.topology.chance.as_ref().is_some_and(Chance::disconnects) {
            self.interrupt();
        }
    }
}
