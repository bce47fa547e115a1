//! Where the outputs of a task go: into the reply, perhaps the largest alone, into the queue of the
//! task, into a fold, or into blocks of an exchange.

mod blocks;
mod folding;
mod queueing;
mod scattering;
mod trimming;

pub(super) use blocks::Blocks;
pub(super) use folding::{Folding, LedgerEntry};
pub(super) use scattering::{Broken, Scattering};
pub(super) use trimming::{order, trim};
