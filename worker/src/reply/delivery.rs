//! A delivery that a reply or a lease settles.

use std::sync::Mutex;

use phalanx_core::broker::{Delivery, Settle};

use crate::{lock::lock, slots::SlotGuard};

/// A delivery that is settled by the reply to its task or, earlier, by a lease. The first of the
/// two settles it, and the other has no effect.
///
/// It lives until the broker has the reply.
#[derive(Debug)]
pub(crate) struct SharedDelivery {
    delivery: Mutex<Option<Delivery>>,
    leased: Mutex<LeasedSlot>,
}

/// The slots of the task, as far as they count as leased.
#[derive(Debug)]
enum LeasedSlot {
    /// The delivery is not leased, or the task has not begun.
    None,
    Occupied {
        _guard: SlotGuard,
    },
    /// The task has ended, although its reply is not on its way.
    Vacated,
}

impl SharedDelivery {
    pub(super) fn new(delivery: Delivery) -> Self {
        Self { delivery: Mutex::new(Some(delivery)), leased: Mutex::new(LeasedSlot::None) }
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

    /// Counts the slots of `guard` as leased until the broker has the reply, unless they are free
    /// already.
    pub(crate) fn occupy(&self, guard: SlotGuard) {
        let mut leased = lock(&self.leased);
        if matches!(*leased, LeasedSlot::None) {
            *leased = LeasedSlot::Occupied { _guard: guard };
        }
    }

    /// The slots of the task are free: only its blocks are awaited.
    pub(super) fn vacate(&self) {
        *lock(&self.leased) = LeasedSlot::Vacated;
    }
}
