//! What a program that drives jobs can meet.

use std::{error::Error as StdError, sync::Arc};

pub use crate::operation::ExecuteError;
use crate::{
    broker::{BrokerError, ConnectError, PublishError},
    id::{JobId, WorkerId},
    plan::PlanError,
    registry::Refusal,
};

/// What a program that drives jobs can meet, by phase.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection came about.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The program cannot be run as it is written.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The input failed.
    #[error("job {job}: the input failed at element {index}")]
    Input {
        /// The job.
        job: JobId,
        /// The index of the element that could not be had.
        index: u64,
        /// What the input said.
        #[source]
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The broker refused a task.
    #[error("job {job}: a task of operation `{operation}` at element {index} cannot be submitted")]
    Submit {
        /// The job.
        job: JobId,
        /// The first operation of the task.
        operation: String,
        /// The index of its first element.
        index: u64,
        /// What the broker said.
        #[source]
        source: PublishError,
    },
    /// An element failed for good.
    #[error(transparent)]
    Execute(#[from] Box<ExecuteError>),
    /// No worker is able to run a task.
    #[error("job {job}: every live worker refuses operation `{operation}`: {}", describe_refusals(.refusals))]
    Refused {
        /// The job.
        job: JobId,
        /// The first operation of the task.
        operation: String,
        /// What each of them said.
        refusals: Vec<(WorkerId, Refusal)>,
    },
    /// A result does not decode as what the program expects.
    #[error("job {job}: the output of element {index} does not decode: {reason}")]
    Decode {
        /// The job.
        job: JobId,
        /// The index of the element.
        index: u64,
        /// What the decoder said.
        reason: String,
    },
    /// The job was cancelled.
    #[error("job {job} was cancelled")]
    Cancelled {
        /// The job.
        job: JobId,
    },
    /// The job does not move, for longer than the patience that was set.
    #[error("job {job} does not move: {cause}")]
    Stalled {
        /// The job.
        job: JobId,
        /// Why, and what to do.
        cause: String,
    },
    /// The broker failed in a way that it does not come back from.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The runtime was closed.
    #[error("the runtime is closed: by this program, or because its broker has ended")]
    Closed,
}

fn describe_refusals(refusals: &[(WorkerId, Refusal)]) -> String {
    let texts: Vec<String> =
        refusals.iter().map(|(worker, refusal)| format!("worker {worker}: {refusal}")).collect();
    texts.join("; ")
}
