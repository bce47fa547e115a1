//! Whole fleets under faults that a seed decides.
//!
//! A fleet is a leader, workers and RabbitMQ, each in a process of its own, with a proxy between any
//! two of them. The leader runs jobs, round after round, and compares each answer with that of the
//! sequential program. Meanwhile a [`Schedule`] goes wrong: it is made from a seed, it is data, and
//! it is printed, so that a run which fails can be repeated.
//!
//! Workers die where the seed says: they see the broker through one of the scheme `chaos`, which is
//! RabbitMQ, and kills its own process at a [`Point`] of the protocol.
#![allow(clippy::print_stdout, reason = "a command line talks")]

mod broker;
mod cli;
mod death;
mod fault;
mod fleet;
mod habits;
mod inject;
mod lead;
pub mod misbehaving;
mod report;
mod run;
mod schedule;
mod world;

pub use cli::main;
pub use death::{Death, Point};
pub use fault::{Fault, FaultKind, Party};
pub use fleet::{MemoryLimit, Workers};
pub use habits::Habits;
pub use report::Report;
pub use run::{Place, Run};
pub use schedule::{Bounds, Schedule};
