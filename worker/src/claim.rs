//! What settles a delivery.

use std::sync::{Mutex, OnceLock, PoisonError};

use phalanx_core::broker::{Delivery, Settle};

use crate::lent::Loan;

/// A delivery that two may settle: who answers its task, and who leases it meanwhile. The first
/// does; for the other there is nothing left to do.
///
/// It lives as long as the task has not been answered.
#[derive(Debug)]
pub(crate) struct Claim {
    delivery: Mutex<Option<Delivery>>,
    /// Set when the delivery was settled by a lease.
    loan: OnceLock<Loan>,
}

impl Claim {
    pub(crate) fn new(delivery: Delivery) -> Self {
        Self { delivery: Mutex::new(Some(delivery)), loan: OnceLock::new() }
    }

    /// Settles the delivery, unless that has been done.
    pub(crate) fn settle(&self, how: Settle) {
        let delivery = self.delivery.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(delivery) = delivery {
            delivery.settle(how);
        }
    }

    /// Acks a delivery whose lease the broker has, and keeps `loan` until the task is answered.
    pub(crate) fn lease(&self, loan: Loan) {
        self.settle(Settle::Ack);
        let _ = self.loan.set(loan);
    }
}
