//! The core of Phalanx: what a program is, what travels, and the leader that drives it.
//!
//! Users depend on the facade crate `phalanx`, which re-exports what they need from here.
//! Each module imports only from those above it in this list (`cargo test -p xtask` checks it).

pub mod id;

pub mod codec;

pub mod operation;

pub mod registry;

pub mod broker;

pub mod wire;

pub mod plan;

pub mod error;

pub mod dead_letters;

pub mod leader;

pub use error::Error;

pub use operation::{AsyncOperation, Monoid, Operation, RemoteExecute};
/// Derives the marker trait of the same name, and places the entry of the operation.
pub use phalanx_macros::RemoteExecute;
pub use phalanx_macros::operation;

#[doc(hidden)]
pub mod __private;
