//! Runs one copy of a task: chunk by chunk through all steps of its stage.
//!
//! A [`Pipeline`] holds the steps, bound to their states. An [`Inlet`](inlet::Inlet) cuts the input
//! into chunks, and a [`Ledger`](ledger::Ledger) records the outcome of each element; their outputs
//! go into the ledger too, or into an [`outlet`]. [`Running`] is the execution's interface to other
//! parts of the worker; [`replying`] ends it. [`blocking`] drives it on a slot thread,
//! [`asynchronous`] on Tokio.

mod asynchronous;
mod blocking;
mod chunk;
mod encoded;
mod inlet;
mod input;
mod keyed;
mod ledger;
mod outlet;
mod pipeline;
mod progress_mark;
mod replying;
mod rows;
mod running;
mod stop;
mod values;

pub(crate) use asynchronous::run_async;
pub(crate) use blocking::run_blocking;
pub(crate) use pipeline::Pipeline;
pub(crate) use progress_mark::ProgressMark;
pub(crate) use running::{ExecutionConfig, RunState, Running};
pub(crate) use stop::Stop;

#[cfg(test)]
mod exchange_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trimming_tests;
