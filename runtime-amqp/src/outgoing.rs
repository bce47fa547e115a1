//! A message on its way to the channel, and the window that limits how many are in flight.

use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use lapin::{BasicProperties, Channel, options::BasicPublishOptions, types::ShortString};
use phalanx_core::broker::PublishError;
use tokio::sync::oneshot;

use crate::in_flight::{InFlight, Resolved, Sent};

/// What may be unconfirmed at once on a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) messages: usize,
    /// The sum of the bodies, in bytes; a larger message is published while no other is in flight.
    pub(crate) bytes: usize,
    pub(crate) mandatory: bool,
}

impl Window {
    pub(crate) const ORDINARY: Self = Self { messages: 512, bytes: 32 << 20, mandatory: false };
    pub(crate) const MANDATORY: Self = Self { mandatory: true, ..Self::ORDINARY };
    /// Blocks are large, and what lies in the window is memory of its publisher.
    pub(crate) const BLOCKS: Self = Self { bytes: 16 << 20, ..Self::MANDATORY };
}

/// A message on its way to the channel.
pub(crate) struct Outgoing {
    pub(crate) exchange: ShortString,
    pub(crate) key: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
    /// Receives whether a queue got the message.
    pub(crate) done: oneshot::Sender<Result<bool, PublishError>>,
}

impl Outgoing {
    /// Counts the message as in flight, and returns the future that publishes it and resolves with
    /// its confirm.
    ///
    /// lapin numbers a message and queues its frames in the first poll, under two separate locks.
    /// One task alone polls all these futures, in the order in which they were made, so no other
    /// message comes between number and frames.
    pub(crate) fn publish(
        self,
        channel: Arc<Channel>,
        mandatory: bool,
        in_flight: &mut InFlight,
    ) -> BoxFuture<'static, Resolved> {
        let Self { exchange, key, mut properties, body, done } = self;
        let id = in_flight.next_id();
        if mandatory {
            properties = properties.with_message_id(id.to_string().into());
        }
        let (exchange_of_sent, tick) = (exchange.clone(), in_flight.now);
        let sent = Sent { id, exchange: exchange_of_sent, size: body.len(), tick, done };
        in_flight.add(&sent);
        let options = BasicPublishOptions { mandatory, immediate: false };
        async move {
            let published = channel.basic_publish(exchange, key, options, &body, properties);
            let result = match published.await {
                Ok(confirm) => {
                    drop(body); // lapin has its own copy.
                    confirm.await
                }
                Err(error) => Err(error),
            };
            (sent, result)
        }
        .boxed()
    }
}

/// Refuses a body of more than `limit` bytes.
pub(crate) fn check_size(size: usize, limit: u64) -> Result<(), PublishError> {
    match size as u64 {
        size if size > limit => Err(PublishError::TooLarge { size, limit }),
        _ => Ok(()),
    }
}
