//! The error of an element that failed permanently.

use serde::{Deserialize, Serialize};

use super::OperationError;
use crate::id::{CopyId, JobId, WorkerId};

/// An element that failed permanently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error(
    "job {job}: operation `{operation}` failed at element {index} (stage {stage}, task {}, try \
     {tries}{}): {error}", copy.task, on_worker(.worker)
)]
#[non_exhaustive]
pub struct ExecuteError {
    /// The job.
    pub job: JobId,
    /// The name of the operation that failed.
    pub operation: String,
    /// The stage of the plan, from 0.
    pub stage: u32,
    /// The index of the element in the source, from 0.
    pub index: u64,
    /// The copy of the task in which it was tried last.
    pub copy: CopyId,
    /// How often the element was tried, from 1.
    pub tries: u32,
    /// The worker that tried it last; `None` if that worker is not known.
    pub worker: Option<WorkerId>,
    /// The error that the operation returned, or what took its place (a panic, a timeout, …).
    pub error: OperationError,
}

fn on_worker(worker: &Option<WorkerId>) -> String {
    worker.map(|worker| format!(", worker {worker}")).unwrap_or_default()
}
