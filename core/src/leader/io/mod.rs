//! The half of the leader that does I/O. Decides nothing.

mod combine;
mod command;
mod decode;
mod driver;
mod job_channels;
mod output;
mod publisher;
mod pull;

pub(super) use command::Command;
pub(super) use driver::{Driver, reply_queue};
#[cfg(test)]
pub(super) use output::ReturnedCredit;
pub(super) use output::{CreditGuard, CreditedBlock};
