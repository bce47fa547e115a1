//! Drives jobs: the leader.
//!
//! - `engine` makes all decisions: `step(input) -> actions`, without a clock or I/O.
//! - `io` carries messages between the engine, the broker, the sources and the readers.
//! - `api` is the interface for programs: the runtime, jobs and results.
//!
//! `api` imports from `io`, and `io` from `engine`, never the other way round. `docs/protocol.md`
//! has the numbered rules that comments cite.

mod api;
mod engine;
mod io;

pub use api::{Call, Job, JobEvents, Results, Runtime, RuntimeBuilder, ValueFuture};
pub use engine::{ExchangeProgress, JobEvent, Progress, StageProgress, Stall};
