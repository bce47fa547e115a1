//! A consumer that counts replies, and kills its process at the points that a delivery passes.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use phalanx_core::broker::{
    BrokerError, Consumer, Consumption, Delivery, MessageKind, Settle, Settler,
};

use super::REPLY_COUNTS;
use crate::{Point, death};

#[derive(Debug)]
pub(crate) struct ChaosConsumer {
    inner: Box<dyn Consumer>,
}

impl ChaosConsumer {
    pub(crate) fn new(inner: Box<dyn Consumer>) -> Self {
        Self { inner }
    }
}

#[async_trait]
impl Consumer for ChaosConsumer {
    async fn next(&mut self) -> Option<Consumption> {
        self.inner.next().await.map(watch)
    }

    fn try_next(&mut self) -> Option<Consumption> {
        self.inner.try_next().map(watch)
    }

    async fn set_prefetch(&mut self, prefetch: u16) {
        self.inner.set_prefetch(prefetch).await;
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }

    fn error(&self) -> Option<BrokerError> {
        self.inner.error()
    }
}

fn watch(consumption: Consumption) -> Consumption {
    let Consumption::Delivery(delivery) = consumption else { return consumption };
    let properties = &delivery.message.properties;
    match properties.kind {
        Some(MessageKind::Task) => {
            death::reach(if delivery.redelivered { Point::Redelivered } else { Point::Delivered });
            Consumption::Delivery(watched(delivery))
        }
        kind => {
            REPLY_COUNTS.count(kind, properties.copy);
            Consumption::Delivery(delivery)
        }
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
            death::reach(Point::Acking);
            death::reach_soon(Point::Acked);
        }
    }
}
