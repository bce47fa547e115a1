//! Running one copy of a task: chunk by chunk through all steps of its stage.
//!
//! [`Pipeline`] is the steps bound to their states, [`Batch`](batch::Batch) hands out chunks,
//! [`Ledger`](ledger::Ledger) writes down what became of each element, [`Running`] is what one
//! execution shares with those who watch it, and [`answering`] how it ends. [`blocking`] drives it
//! on a slot thread, [`asynchronous`] on tokio.

mod answering;
mod asynchronous;
mod batch;
mod blocking;
mod chunk;
mod encoded;
mod folding;
mod input;
mod ledger;
mod pipeline;
mod running;

pub(crate) use asynchronous::run_async;
pub(crate) use blocking::run_blocking;
pub(crate) use pipeline::Pipeline;
pub(crate) use running::{Overdue, Report, Running, Setting, Standing, Stop};

#[cfg(test)]
mod tests;
