//! Helpers for the fleet tests.

mod fleet;
mod mortal_leader;
mod process;
mod rendezvous;
mod runtimes;

pub(crate) use fleet::Fleet;
pub(crate) use mortal_leader::{MortalLeader, expire_soon, expired};
pub(crate) use phalanx_test_support::{start_node, with_node};
pub(crate) use process::{AMBIGUOUS_WORKER, OLDER_WORKER, Process, WORKER};
pub(crate) use rendezvous::Rendezvous;
pub(crate) use runtimes::{assert_usable, on_every_runtime};
