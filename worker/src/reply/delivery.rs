//! A delivery that a reply or a lease settles.

use std::sync::{Mutex, OnceLock};

use phalanx_core::broker::{Delivery, Settle};

use crate::{lock::lock, slots::SlotGuard};

/// A delivery that is settled by the reply to its task or, earlier, by a lease. The first of the
/// two settles it, and the other has no effect.
///
/// It lives until the broker has the reply.
#[derive(Debug)]
pub(crate) struct SharedDelivery {
    delivery: Mutex<Option<Delivery>>,
    /// Set when a lease has settled the delivery, and the task has begun.
    leased: OnceLock<SlotGuard>,
}

impl SharedDelivery {
    pub(super) fn new(delivery: Delivery) -> Self {
        Self { delivery: Mutex::new(Some(delivery)), leased: OnceLock::new() }
    }

    /// Settles the delivery, unless it is settled already.
    pub(super) fn settle(&self, settle: Settle) {
        let delivery = lock(&self.delivery).take();
        if let Some(delivery) = delivery {
            delivery.settle(settle);
        }
    }

    /// Acks a delivery whose lease the broker has confirmed.
    pub(crate) fn lease(&self) {
        self.settle(Settle::Ack);
    }

    /// Counts the slots of `guard` as leased until the broker has the reply.
    pub(crate) fn occupy(&self, guard: SlotGuard) {
        // A task occupies its slots once.
        let _ = self.leased.set(guard);
    }
}
