//! The core of Phalanx: operations and programs, the messages between leaders and workers, and the
//! leader.
//!
//! Users depend on the facade crate `phalanx`, which re-exports the public items of this crate.
//! Broker and worker crates depend on this crate directly.
//!
//! The modules in the order of their dependencies: [`id`], `report`, `paused_clock`, [`codec`],
//! [`mod@operation`], [`registry`], [`broker`], `notice`, [`wire`], [`plan`], [`error`],
//! [`dead_letters`], [`leader`]. Each module imports only from those before it (`cargo test -p
//! xtask` checks it).

pub mod id;

#[doc(hidden)]
pub mod report;

#[doc(hidden)]
pub mod paused_clock;

pub mod codec;

pub mod operation;

pub mod registry;

pub mod broker;

#[doc(hidden)]
pub mod notice;

pub mod wire;

#[doc(hidden)]
pub mod blocks;

#[doc(hidden)]
pub mod gather;

pub mod plan;

pub mod error;

pub mod dead_letters;

pub mod leader;

pub use error::Error;

pub use operation::{AsyncOperation, Monoid, Operation, RemoteExecute};
pub use phalanx_macros::{RemoteExecute, operation};

#[doc(hidden)]
pub mod __private;

#[cfg(test)]
mod testing;
