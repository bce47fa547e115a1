//! Isolated runs: tasks that may end the process which runs them (rule 7).
//!
//! A worker keeps a [`Crew`] of child processes, the same executable started again. A slot thread
//! that has a isolated task gives it to a child and waits ([`run`]); the two speak in [`frame`]s
//! over a connection within the machine. A child is an ordinary worker of one slot, whose broker is
//! its [`parent`]: so timeouts, panics and encoding are the same code. It says which chunk it begins;
//! a task that ends it is run once more, element by element, so that the one at fault is known.

mod child;
mod crew;
mod frame;
mod parent;
mod process;
mod run;
mod says;
mod status;

pub use child::isolated;
pub(crate) use crew::{Crew, end_idle};
pub(crate) use run::run_isolated;

/// Set for children: where the parent listens, the token to say there, and the parent's identity.
const VARIABLE: &str = "PHALANX_ISOLATED";
