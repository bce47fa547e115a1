//! Publishes messages: hands them to the task that owns the channel, and awaits their confirms.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use lapin::types::ShortString;
use phalanx_core::broker::{Address, Message, PublishError};
use tokio::{
    sync::{mpsc, oneshot},
    task::coop::unconstrained,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    outgoing::{Outgoing, Window, check_size},
    properties,
    publish_task::PublishTask,
    session::Link,
    topology::Namespace,
};

/// How many messages can queue up for the window, each owned by a caller that waits for its
/// confirm. Further callers wait for room, in no particular order.
const QUEUE_CAPACITY: usize = 16_384;

/// Publishes messages with confirms on a separate channel.
pub(crate) struct Publisher {
    namespace: Namespace,
    outgoing: mpsc::Sender<Outgoing>,
    /// The broker's message size limit in bytes; `u64::MAX` until the broker has refused a message
    /// for its size. Relaxed: a stale value costs one refusal, and the limit guards no other data.
    size_limit: Arc<AtomicU64>,
    closing: CancellationToken,
}

impl Publisher {
    /// Spawns the task that publishes on `link`; it drains and ends when `closing` is cancelled.
    pub(crate) fn spawn(
        link: Link,
        namespace: Namespace,
        window: Window,
        silence_limit: usize,
        closing: CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let (outgoing, queue) = mpsc::channel(QUEUE_CAPACITY);
        let size_limit = Arc::new(AtomicU64::new(u64::MAX));
        let task = PublishTask {
            link,
            namespace: namespace.clone(),
            window,
            silence_limit,
            queue,
            deferred: None,
            one_by_one: 0,
            size_limit: size_limit.clone(),
            closing: closing.clone(),
        };
        tasks.spawn(task.run());
        Self { namespace, outgoing, size_limit, closing }
    }

    /// Resolves when the broker has confirmed the message; returns whether a queue got it, which is
    /// only meaningful for mandatory messages.
    pub(crate) async fn publish(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        if self.closing.is_cancelled() {
            return Err(PublishError::Closed);
        }
        check_size(message.body.len(), self.size_limit.load(Ordering::Relaxed))?;
        let refused = |reason: &str| PublishError::Refused { reason: reason.to_owned() };
        let exchange = self.namespace.exchange(address.exchange).ok_or_else(|| {
            refused("this version of the RabbitMQ broker does not support the exchange")
        })?;
        let key = ShortString::try_new(address.key.as_str())
            .map_err(|_| refused("the routing key is longer than 255 bytes"))?;
        let properties = properties::to_amqp(&message.properties);
        let (done, confirmed) = oneshot::channel();
        let outgoing =
            Outgoing { exchange: exchange.into(), key, properties, body: message.body, done };
        // The first poll takes a place in the queue. Without `unconstrained`, Tokio's cooperative
        // scheduling would sometimes return pending instead, and later calls would overtake this
        // one.
        let queued = unconstrained(self.outgoing.send(outgoing)).await;
        queued.map_err(|_| PublishError::Closed)?;
        // The sender is dropped unused if the message is lost with its connection.
        confirmed.await.unwrap_or(Err(PublishError::Lost))
    }
}
