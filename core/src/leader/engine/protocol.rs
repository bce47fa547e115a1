//! Inputs and actions of the engine: its whole interface to the world.

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

/// An input of the engine.
#[derive(Debug)]
pub(crate) enum Input {
    /// A job begins; `hint` is the number of elements of its source, if it is known.
    Start { job: JobId, plan: Arc<Plan>, hint: Option<u64>, dead_lettering: DeadLettering },
    /// Elements of a source.
    Pulled { job: JobId, block: Block, progress: Pull },
    /// The broker has confirmed a copy.
    Published { copy: CopyId },
    /// The broker has not taken a copy, or it is not known whether it has.
    NotPublished { copy: CopyId, error: PublishError },
    /// A worker replied with the outcome of a task.
    Result(ResultMessage),
    /// A worker returned a task or a probe unrun.
    Return(Return),
    /// A worker keeps tasks alive that it runs.
    Lease(Lease),
    /// A probe was published, to a queue or (`false`) to none, or not.
    Probed { pool: Pool, result: Result<bool, PublishError> },
    /// A probe came back.
    ProbeReply(ProbeReply),
    /// The queue of a pool exists again, or could not be declared.
    Declared { pool: Pool, result: Result<(), BrokerError> },
    /// Replies may have been lost with a connection, and messages in queues.
    Interrupted,
    /// The reply to a copy does not decode.
    UndecodableReply { copy: CopyId, reason: String },
    /// A combination on the leader is over.
    Combined { job: JobId, combination: u64, result: Result<Bytes, OperationError> },
    /// The reader of a job took outputs that were charged with this many bytes.
    Taken { job: JobId, bytes: usize },
    /// The program cancelled a job, or dropped all its handles.
    Cancel { job: JobId },
    /// The leader ends, and with it all jobs.
    Close,
    /// A worker has connected.
    Hello(Box<Presence>),
    /// A worker is there.
    Presence(Box<Presence>),
    /// A worker has ended.
    Bye(WorkerId),
    /// The state of the connection has changed.
    Health(Health),
    /// Time has passed; `unread` if replies were waiting meanwhile.
    Tick { elapsed: Duration, unread: bool },
}

/// Whether a job writes dead letters about elements that fail permanently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadLettering {
    On,
    /// For a replay, which keeps the dead letter that it came from.
    Off,
}

/// How far a pull has got.
#[derive(Debug)]
pub(crate) enum Pull {
    /// The source pauses; more of the same pull may come.
    Pausing,
    /// The pull brought as many elements as it asked for.
    Done,
    /// The source has no more elements.
    Ended,
    /// The source failed at the element after the last one.
    Failed(Arc<dyn std::error::Error + Send + Sync>),
}

/// Something that the driver is to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Publish a copy of a task; brings `Published` or `NotPublished`.
    Publish { pool: Pool, message: Box<TaskMessage> },
    /// Publish a probe through the queue of a pool; brings `Probed`.
    Probe { pool: Pool, nonce: u64 },
    /// Declare the queue of a pool; brings `Declared`.
    Declare { pool: Pool },
    /// Pull up to this many elements and bytes; brings `Pulled`.
    Pull { job: JobId, elements: u64, bytes: usize },
    /// Hand outputs to the reader of a job.
    Output { job: JobId, outputs: OutputBlock },
    /// Combine partial results on the leader; brings `Combined`.
    Combine { job: JobId, combination: u64, step: Box<StepReference>, partials: Vec<Bytes> },
    /// End a job.
    End { job: JobId, result: Result<(), Error> },
    /// Publish the hint that a job is dead.
    Cancel { job: JobId },
    /// Publish to a worker which jobs are live: it takes no task before, or only after a while.
    Greet { worker: WorkerId },
    /// Emit an event to the watchers of a job.
    Emit { job: JobId, event: JobEvent },
    /// Write a dead letter.
    DeadLetter { element: Box<DeadElement> },
}
