//! The error of an element that failed permanently.

use serde::{Deserialize, Serialize};

use super::{Group, OperationError, group::element_name};
use crate::id::{CopyId, JobId, WorkerId};

/// The failure of an element that failed permanently: where it happened, and the error.
///
/// The source of [`Error::Execute`](crate::Error::Execute), and a part of every dead letter.
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation]
/// fn half(n: u64) -> Result<u64> {
///     match n % 2 {
///         0 => Ok(n / 2),
///         _ => Err(OperationError::fatal(format!("{n} is odd"))),
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let halves = IndexedStream::from([2, 4, 7]).map(Half);
/// let error = halves.collect(&runtime).await.unwrap_err();
/// let phalanx::Error::Execute(failure) = error else { panic!("{error}") };
/// assert_eq!((failure.index, failure.tries), (2, 1));
/// assert_eq!(failure.error.message(), "7 is odd");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error(
    "job {job}: operation `{operation}` failed at {} (stage {stage}, task {}, \
     try {tries}{}): {error}", self.element(), copy.task, on_worker(.worker)
)]
#[non_exhaustive]
pub struct ExecuteError {
    /// The job of the element.
    pub job: JobId,
    /// The name of the operation that failed.
    pub operation: String,
    /// The stage of the plan, from 0.
    pub stage: u32,
    /// The index of the element in the source, from 0. Behind an exchange elements have none: there
    /// it is the position, a number that says nothing by itself, as in
    /// [`TaskContext::index`](crate::operation::TaskContext::index).
    pub index: u64,
    /// Where the element is, and its key, if an exchange made it; `None` before the first exchange.
    pub group: Option<Group>,
    /// The copy of the task in which the element was tried last.
    pub copy: CopyId,
    /// The number of tries of the element, at least 1.
    pub tries: u32,
    /// The worker that tried it last; `None` if that worker is not known.
    pub worker: Option<WorkerId>,
    /// The error that the operation returned, or the panic, timeout or crash that ended it.
    pub error: OperationError,
}

impl ExecuteError {
    /// How texts name the element: by its index, or by its key and place behind an exchange.
    pub(crate) fn element(&self) -> String {
        element_name(self.index, self.group.as_ref())
    }
}

pub(super) fn on_worker(worker: &Option<WorkerId>) -> String {
    worker.map(|worker| format!(", worker {worker}")).unwrap_or_default()
}

crate::__debug_as_report!(ExecuteError);
