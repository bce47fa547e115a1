//! Drives jobs: the leader.
//!
//! - `engine` decides: `step(input) -> actions`, without clock and I/O.
//! - `io` does: it carries messages between the engine, the broker, the sources and the readers.
//! - `api` is what a program holds: the runtime, jobs, results.
//!
//! `api` imports from `io`, and `io` from `engine`, never the other way round. `docs/protocol.md`
//! has the numbered rules that comments cite.

mod api;
mod engine;
mod io;

pub use api::{Job, JobEvents, Results, Runtime, RuntimeBuilder, ValueFuture};
pub use engine::{JobEvent, Progress, Stall};
