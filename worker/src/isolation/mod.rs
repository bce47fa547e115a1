//! Isolated runs: tasks that may end the process that runs them (rule 7).
//!
//! A worker keeps a [`ChildPool`] of child processes: its own executable, started again. A slot
//! thread that has an isolated task sends it to a child and waits ([`run`]). The two exchange
//! [`frame`]s over a loopback connection. A child is an ordinary worker of one slot whose broker is
//! a [`parent_broker`], so timeouts, panics and encoding are the same code. The child reports the
//! first element of each chunk. A task that ends a child is run once more, element by element, so
//! that the element at fault is known.

mod child;
mod child_pool;
mod child_process;
mod child_runs;
mod frame;
mod gathered;
mod parent_broker;
mod parent_link;
mod reply;
mod run;
mod run_shared;
mod shared_child;
mod status;

pub use child::isolated;
pub(crate) use child_pool::{ChildPool, reap_idle};
pub(crate) use run::run_isolated;
pub(crate) use run_shared::run_isolated_async;

/// The environment variable that makes a process a child: the address of the parent, the token to
/// present there, the identity of the parent, and the stack of a slot thread in bytes, with slashes
/// between them.
const PARENT_VARIABLE: &str = "PHALANX_ISOLATED";

/// The environment variable that tells a child the spill directory of its parent.
const SPILL_VARIABLE: &str = "PHALANX_ISOLATED_SPILL_DIR";
