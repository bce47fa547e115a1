//! The consumer that [`consume`](phalanx_core::broker::Broker::consume) returns: a stream of
//! deliveries, fed by the task of a [`subscription`](crate::subscription).

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use phalanx_core::broker::{
    BrokerError, Consumer, Consumption, Delivery, Message, Settle, Settler,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::DropGuard;

use crate::consumer_stream::StreamSettler;

/// A stream of deliveries from one queue.
pub(crate) struct AmqpConsumer {
    /// The queue's name at the broker when it was first consumed: for `Debug`.
    pub(crate) queue: String,
    /// Bounded by the prefetch: the broker sends no more until something is settled.
    pub(crate) items: mpsc::UnboundedReceiver<Item>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) current: ChannelGeneration,
    /// Whether its prefetch is fixed: a second consumer beside an exclusive one would be refused.
    pub(crate) is_exclusive: bool,
    pub(crate) is_cancelled: bool,
    /// Why the task has ended a passive consumer; set before the last item.
    pub(crate) error: Arc<OnceLock<BrokerError>>,
    /// Ends the task when the consumer is dropped.
    pub(crate) _dropped: DropGuard,
}

/// The items that the task passes to the consumer.
pub(crate) enum Item {
    Delivery {
        channel_generation: u64,
        settler: Arc<StreamSettler>,
        tag: u64,
        redelivered: bool,
        message: Message,
    },
    /// The task has resumed after an interruption; `generation` is that of the connection.
    Resumed { generation: u64 },
}

/// The commands of the consumer to the task. Each has a sender that is notified when the command is
/// done.
pub(crate) enum Command {
    SetPrefetch(u16, oneshot::Sender<()>),
    Cancel(oneshot::Sender<()>),
}

/// Counts the channels of one consumer, from 1; shared by the consumer and its task.
///
/// The broker requeues the unsettled deliveries of a lost channel. The consumer skips those of them
/// that are still in its buffer, as they will be delivered again.
#[derive(Clone)]
pub(crate) struct ChannelGeneration(Arc<AtomicU64>);

impl ChannelGeneration {
    pub(crate) fn first() -> Self {
        Self(Arc::new(AtomicU64::new(1)))
    }

    /// Acquire: pairs with [`advance`](Self::advance), so that a consumer that reads the new number
    /// also sees the task's earlier writes.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Makes the consumer skip all deliveries of the present channel from now on. One that it takes
    /// at the same moment has a stale settler, whose settlement does nothing.
    pub(crate) fn advance(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

impl AmqpConsumer {
    fn consumption(&self, item: Item) -> Option<Consumption> {
        match item {
            Item::Resumed { generation } => Some(Consumption::Resumed { generation }),
            Item::Delivery { channel_generation, .. }
                if channel_generation != self.current.get() =>
            {
                None
            }
            Item::Delivery { settler, tag, redelivered, message, .. } => {
                Some(Consumption::Delivery(Delivery::new(message, redelivered, tag, settler)))
            }
        }
    }

    async fn command(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, executed) = oneshot::channel();
        if self.commands.send(command(done)).await.is_ok() {
            // An error means that the task has ended, and with it the consumption.
            let _ = executed.await;
        }
    }
}

#[async_trait]
impl Consumer for AmqpConsumer {
    async fn next(&mut self) -> Option<Consumption> {
        loop {
            // Cancel-safe: `recv` is, and nothing is awaited between it and the return.
            let item = self.items.recv().await?;
            if let Some(consumption) = self.consumption(item) {
                return Some(consumption);
            }
        }
    }

    fn try_next(&mut self) -> Option<Consumption> {
        loop {
            let item = self.items.try_recv().ok()?;
            if let Some(consumption) = self.consumption(item) {
                return Some(consumption);
            }
        }
    }

    async fn set_prefetch(&mut self, prefetch: u16) {
        if !self.is_exclusive {
            self.command(|done| Command::SetPrefetch(prefetch, done)).await;
        }
    }

    async fn cancel(&mut self) {
        self.is_cancelled = true;
        self.command(Command::Cancel).await;
    }

    fn error(&self) -> Option<BrokerError> {
        self.error.get().cloned()
    }
}

impl Drop for AmqpConsumer {
    /// Requeues the deliveries in the buffer. Unless the consumer was cancelled, the deliveries
    /// that it has handed out are requeued too, when the task closes the channel.
    fn drop(&mut self) {
        if self.is_exclusive && !self.is_cancelled {
            return; // One by one, they would come to this consumer again.
        }
        while let Ok(item) = self.items.try_recv() {
            if let Item::Delivery { settler, tag, .. } = item {
                settler.settle(tag, Settle::Requeue);
            }
        }
    }
}

impl fmt::Debug for AmqpConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpConsumer").field("queue", &self.queue).finish_non_exhaustive()
    }
}
