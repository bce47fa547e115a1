//! Runs tasks on slots, and tracks those that this worker holds.

mod executions;
mod gather;
mod run;

pub(crate) use executions::{Executions, Publishing};
pub(crate) use run::Executor;
