//! The half of the leader that does I/O. Decides nothing.

mod combine;
mod command;
mod driver;
mod output;
mod pull;

pub(super) use command::{Command, DeadLettering};
pub(super) use driver::{Driver, reply_queue};
#[cfg(test)]
pub(super) use output::ReturnedCredit;
pub(super) use output::{CreditGuard, CreditedBlock};
