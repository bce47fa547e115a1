//! The execution engine of a Phalanx worker, and its command line.
//!
//! Depend on the facade crate `phalanx`, which has this crate as `phalanx::worker`. A worker
//! program calls `main`:
//!
//! ```no_run
//! use phalanx::prelude::*;
//!
//! #[operation]
//! fn square(n: u64) -> u64 {
//!     n * n
//! }
//!
//! # #[cfg(feature = "cli")]
//! #[tokio::main]
//! async fn main() -> std::process::ExitCode {
//!     phalanx::worker::main().await
//! }
//! # #[cfg(not(feature = "cli"))]
//! # fn main() {}
//! ```
//!
//! A program that needs more control starts a [`Worker`] with [`WorkerOptions`].
//!
//! # The path of a delivery
//!
//! 1. `intake` consumes a task from the queue of its pool, and triages it: the task is run,
//!    returned or rejected. A delivery that owes its leader a reply is a `PendingReply`.
//! 2. `executor` admits the task, and queues it for a slot thread (`slots`) or runs it on Tokio.
//!    One that reads queues gathers its blocks first (`gathering`).
//! 3. `execution` drives it chunk by chunk through all steps, and records each outcome.
//!    `isolation` does the same in a child process for tasks that may have killed a worker.
//! 4. `reply` publishes the result, waits for the broker's confirm, and then acks the delivery.
//!
//! Meanwhile, `lease` settles deliveries whose tasks take long, `leaders` tracks which jobs are
//! dead, and `lifecycle` holds the parts together: presence, timeouts and the drain. Modules import
//! from those named before them in this order: `slots`, `leaders`, `reply`, `gathering`,
//! `execution`, `isolation`, `executor`, `lease` and `intake`, `lifecycle`, `worker`, `cli`.

mod execution;
mod executor;
mod exit;
mod gathering;
mod intake;
mod isolation;
mod leaders;
mod lease;
mod lifecycle;
mod lock;
mod options;
mod process_kind;
mod reply;
mod shared;
mod shutdown;
mod slots;
mod worker;

#[cfg(feature = "cli")]
mod cli;

#[cfg(test)]
mod testing;

#[cfg(feature = "cli")]
pub use cli::main;
pub use exit::Exit;
pub use isolation::isolated;
pub use options::WorkerOptions;
pub use worker::Worker;
