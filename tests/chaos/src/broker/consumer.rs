//! A consumer that counts replies, and at whose points incidents happen.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use phalanx_core::broker::{
    BrokerError, Consumer, Consumption, Delivery, MessageKind, QueueSpec, Settle, Settler,
    ShuffleQueue,
};

use super::REPLY_COUNTS;
use crate::{Point, fleet::GATHER_MEMORY, incident};

/// What a consumer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Tasks, replies, control messages or events.
    Messages,
    /// The blocks of a partition.
    Partition,
    /// The outputs of a task.
    Outputs,
}

impl Source {
    pub(crate) fn of(queue: &QueueSpec) -> Self {
        match queue {
            QueueSpec::Shuffle(ShuffleQueue::Partition { .. }) => Self::Partition,
            QueueSpec::Shuffle(ShuffleQueue::Output { .. }) => Self::Outputs,
            _ => Self::Messages,
        }
    }
}

#[derive(Debug)]
pub(crate) struct ChaosConsumer {
    /// Only absent while this is dropped.
    inner: Option<Box<dyn Consumer>>,
    source: Source,
    /// The bytes of the blocks that were read.
    bytes: u64,
}

impl ChaosConsumer {
    pub(crate) fn new(inner: Box<dyn Consumer>, source: Source) -> Self {
        Self { inner: Some(inner), source, bytes: 0 }
    }

    fn inner(&mut self) -> &mut dyn Consumer {
        self.inner.as_deref_mut().expect("it is not dropped yet")
    }

    /// Does not wait for the loss of the connection: a delivery would be lost if that wait ended
    /// early.
    fn watch(&mut self, consumption: Consumption) -> Consumption {
        let Consumption::Delivery(delivery) = consumption else { return consumption };
        let properties = &delivery.message.properties;
        match properties.kind {
            Some(MessageKind::Task) => {
                let redelivered = delivery.redelivered;
                incident::reach(if redelivered { Point::Redelivered } else { Point::Delivered });
                return Consumption::Delivery(watched(delivery));
            }
            Some(MessageKind::Block) if self.source == Source::Outputs => {
                incident::reach(Point::Served);
            }
            Some(MessageKind::Block) => {
                self.bytes += delivery.message.body.len() as u64;
                incident::reach(Point::Gathering);
                if self.bytes > GATHER_MEMORY {
                    incident::reach(Point::Spilled);
                }
            }
            kind => REPLY_COUNTS.count(kind, properties.copy),
        }
        Consumption::Delivery(delivery)
    }
}

impl Drop for ChaosConsumer {
    fn drop(&mut self) {
        // From here on, the broker takes the blocks back.
        drop(self.inner.take());
        if self.source == Source::Partition {
            incident::reach_soon(Point::Gathered);
        }
    }
}

#[async_trait]
impl Consumer for ChaosConsumer {
    async fn next(&mut self) -> Option<Consumption> {
        let next = self.inner().next().await;
        next.map(|consumption| self.watch(consumption))
    }

    fn try_next(&mut self) -> Option<Consumption> {
        let next = self.inner().try_next();
        next.map(|consumption| self.watch(consumption))
    }

    async fn set_prefetch(&mut self, prefetch: u16) {
        self.inner().set_prefetch(prefetch).await;
    }

    async fn cancel(&mut self) {
        self.inner().cancel().await;
    }

    fn error(&self) -> Option<BrokerError> {
        self.inner.as_ref().and_then(|inner| inner.error())
    }
}

/// Wraps a delivery, so that its ack is one of the points.
fn watched(delivery: Delivery) -> Delivery {
    let (message, redelivered) = (delivery.message.clone(), delivery.redelivered);
    Delivery::new(message, redelivered, 0, Arc::new(Watched(Mutex::new(Some(delivery)))))
}

struct Watched(Mutex<Option<Delivery>>);

impl Settler for Watched {
    fn settle(&self, _: u64, settle: Settle) {
        let delivery = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(delivery) = delivery {
            delivery.settle(settle);
        }
        if settle == Settle::Ack {
            incident::reach(Point::Acking);
            incident::reach_soon(Point::Acked);
        }
    }
}
