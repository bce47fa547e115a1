//! The core of Phalanx: what a program is, what travels, and the leader that drives it.
//!
//! Users depend on the facade crate `phalanx`, which re-exports what they need from here.
//! The rooms, each importing only from those above it: [`mod@operation`], [`codec`], [`registry`],
//! [`wire`], [`broker`], [`plan`], [`leader`].

pub mod id;
pub mod operation;

pub mod codec;

pub mod registry;

pub mod wire;

pub mod broker;

pub mod plan;

pub mod leader;

pub mod error;

pub use error::Error;

pub use operation::{AsyncOperation, Monoid, Operation, RemoteExecute};
/// Derives the marker trait of the same name, and places the entry of the operation.
pub use phalanx_macros::RemoteExecute;
pub use phalanx_macros::operation;

#[doc(hidden)]
pub mod __private;
