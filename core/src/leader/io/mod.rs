//! The I/O of a leader: carries messages between its engine, the broker, the sources and the
//! readers.
//!
//! All decisions are the engine's.

mod command;
mod decode;
mod driver;
mod job_channels;
mod notices;
mod output;
mod output_blocks;
mod output_readers;
mod publisher;
mod pull;
mod shuffle;

pub(super) use command::Command;
pub(super) use driver::{Driver, reply_queue};
#[cfg(test)]
pub(super) use output::ReturnedCredit;
pub(super) use output::{CreditGuard, CreditedBlock};
