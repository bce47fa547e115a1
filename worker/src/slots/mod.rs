//! The slots of a worker: the threads that compute, and how many of them leases occupy.

mod leased;
mod threads;

pub(crate) use leased::{LeasedSlots, SlotGuard, SlotKind};
pub(crate) use threads::{SlotTask, SlotThread, Slots};
