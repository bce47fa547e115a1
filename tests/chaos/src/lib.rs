//! Runs whole fleets under faults that a seed determines.
//!
//! A fleet is a leader, workers and RabbitMQ, each in a separate process. The leader and each
//! worker connect through a proxy. The leader runs rounds of jobs and compares each result with
//! that of the sequential program. Meanwhile the faults of a [`Schedule`] are injected. A schedule
//! is data that a seed determines, and a failed run prints it, so that the run can be repeated.
//!
//! Processes also have an [`Incident`] at a [`Point`] of the protocol: their URL has the scheme
//! `chaos`, whose broker is RabbitMQ with [`ProcessFaults`].
#![allow(clippy::print_stdout, reason = "this is a command line program")]

mod broker;
mod cli;
mod fault;
pub mod faulty_operations;
mod fleet;
mod incident;
mod inject;
mod lead;
mod process_faults;
mod report;
mod run;
mod schedule;
mod world;

pub use cli::main;
pub use fault::{Fault, FaultKind, FaultTarget};
pub use fleet::{MemoryLimit, Workers};
pub use incident::{Effect, Incident, Point};
pub use process_faults::ProcessFaults;
pub use report::Report;
pub use run::{Run, TestBroker};
pub use schedule::{Bounds, Schedule};
