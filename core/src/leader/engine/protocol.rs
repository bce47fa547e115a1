//! What the engine hears, and what it wants done.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{event::JobEvent, job::OutputBlock};
use crate::{
    broker::{BrokerError, Health, Pool, PublishError},
    dead_letters::DeadElement,
    error::Error,
    id::{CopyId, JobId, WorkerId},
    operation::OperationError,
    plan::{Block, Plan},
    registry::StepReference,
    wire::{Lease, Presence, ProbeReply, ResultMessage, Return, TaskMessage},
};

/// What the engine hears.
#[derive(Debug)]
pub(crate) enum Input {
    /// A job begins; `hint` is how many elements its source has, where that is known.
    Start { job: JobId, plan: Arc<Plan>, hint: Option<u64> },
    /// Elements of a source.
    Pulled { job: JobId, block: Block, progress: Pull },
    /// The broker has taken a copy.
    Published { copy: CopyId },
    /// The broker has not taken a copy, or nobody knows.
    NotPublished { copy: CopyId, error: PublishError },
    /// A worker answers.
    Result(ResultMessage),
    /// A worker gives back.
    Return(Return),
    /// A worker keeps tasks alive.
    Lease(Lease),
    /// A probe was published, to a queue or (`false`) to none, or not.
    Probed { pool: Pool, result: Result<bool, PublishError> },
    /// A probe came back.
    ProbeReply(ProbeReply),
    /// The queue of a pool is there again, or cannot be made.
    Declared { pool: Pool, result: Result<(), BrokerError> },
    /// Answers may have been lost with a connection, and what was in the queues.
    Interrupted,
    /// A worker's answer does not decode.
    Garbled { copy: CopyId, reason: String },
    /// A combination on the leader is over.
    Combined { job: JobId, combination: u64, result: Result<Bytes, OperationError> },
    /// The reader of a job took outputs of this size.
    Taken { job: JobId, bytes: usize },
    /// Nobody wants a job any more.
    Cancel { job: JobId },
    /// The leader goes: no job will end by itself.
    Close,
    /// A worker is there.
    Presence(Box<Presence>),
    /// A worker is gone.
    Bye(WorkerId),
    /// How the connection is.
    Health(Health),
    /// Time has passed; `unread` when answers were waiting meanwhile.
    Tick { elapsed: Duration, unread: bool },
}

/// How far a pull has got.
#[derive(Debug)]
pub(crate) enum Pull {
    /// The source pauses; more of the same pull may come.
    Pausing,
    /// As many as were asked for.
    Done,
    /// There are no more.
    Ended,
    /// The element behind the last one could not be had.
    Failed(Arc<dyn std::error::Error + Send + Sync>),
}

/// What the engine wants done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Publish a copy of a task; answer by `Published` or `NotPublished`.
    Publish { pool: Pool, message: Box<TaskMessage> },
    /// Send a probe through the queue of a pool; answer by `Probed`.
    Probe { pool: Pool, nonce: u64 },
    /// Make sure that the queue of a pool is there; answer by `Declared`.
    Declare { pool: Pool },
    /// Pull up to so many elements and bytes; answer by `Pulled`.
    Pull { job: JobId, elements: u64, bytes: usize },
    /// Hand outputs to the reader of a job.
    Output { job: JobId, outputs: OutputBlock },
    /// Combine partial results here; answer by `Combined`.
    Combine { job: JobId, combination: u64, step: Box<StepReference>, partials: Vec<Bytes> },
    /// A job is over.
    End { job: JobId, result: Result<(), Error> },
    /// Tell the workers that a job is dead.
    Cancel { job: JobId },
    /// Tell who listens.
    Emit { job: JobId, event: JobEvent },
    /// Keep what failed for good where a person can look.
    DeadLetter { job: JobId, element: Box<DeadElement> },
}
