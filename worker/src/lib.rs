//! The execution engine of a Phalanx worker, and its command line.
//!
//! Users depend on the facade crate `phalanx`; runtimes that bring workers along use [`Worker`].
//!
//! A delivery goes from `intake` to a `slot` thread or to tokio, through `execution`, to `answer`,
//! which publishes, waits for the broker's confirm and then acks. What takes longer, `lease` settles
//! meanwhile; what may end a process, `isolated` runs in one of its own. `leaders` knows which jobs are dead, `watchdog` which elements run too long, `drain`
//! how to end.

mod answer;
mod claim;
mod control;
mod drain;
mod engine;
mod execution;
mod executions;
mod intake;
mod isolation;
mod leaders;
mod lease;
mod lent;
mod operations;
mod options;
mod silence;
mod slot;
mod watchdog;
mod worker;

#[cfg(feature = "cli")]
mod cli;

#[cfg(test)]
mod testing;

#[cfg(feature = "cli")]
pub use cli::main;
pub use isolation::isolated;
pub use options::WorkerOptions;
pub use worker::{Exit, Worker};
