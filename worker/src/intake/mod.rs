//! Consumes tasks, and decides what happens to each delivery.

mod consume;
mod pipelines;
mod prefetch;
mod task_intake;
mod triage;

pub(crate) use consume::consume;
pub(crate) use pipelines::Pipelines;
pub(crate) use prefetch::PrefetchController;
pub(crate) use task_intake::TaskIntake;
