//! The inputs and actions of the engine: its whole interface.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    ending::Ending,
    event::{JobEvent, Progress},
    job::OutputBlock,
};
use crate::{
    broker::{BrokerError, Health, Pool, PublishError, QueueAction, ShuffleQueue},
    dead_letters::DeadElement,
    error::Error,
    id::{CopyId, ExecutionId, JobId, TaskNumber, WorkerId},
    plan::{Block, Plan},
    wire::{BlockMessage, Lease, Presence, ProbeReply, ResultMessage, Return, TaskMessage},
};

/// An input of the engine.
#[derive(Debug)]
pub(crate) enum Input {
    /// A job begins; `hints` are the numbers of elements of its sources, as far as they are known.
    Start { job: JobId, plan: Arc<Plan>, hints: Vec<Option<u64>>, dead_lettering: DeadLettering },
    /// Elements of a source.
    Pulled { job: JobId, source: usize, block: Block, progress: Pull },
    /// The broker has confirmed a copy.
    Published { copy: CopyId },
    /// The broker did not accept a copy, or the connection was lost before its confirm.
    NotPublished { copy: CopyId, error: PublishError },
    /// A worker replied with the outcome of a task.
    Result(ResultMessage),
    /// A worker returned a task or a probe unrun.
    Return(Return),
    /// A worker renewed the leases of the tasks that it runs.
    Lease(Lease),
    /// A probe was published, and its queue exists (`true`) or not (`false`); or publishing failed.
    Probed { pool: Pool, result: Result<bool, PublishError> },
    /// A probe came back.
    ProbeReply(ProbeReply),
    /// The queue of a pool exists again, or could not be declared.
    Declared { pool: Pool, result: Result<(), BrokerError> },
    /// Queues of blocks of a job were declared, renewed or deleted, each with its outcome.
    Managed {
        job: JobId,
        action: QueueAction,
        outcomes: Vec<(ShuffleQueue, Result<u64, BrokerError>)>,
    },
    /// A block of this size is in the queue of its partition, or the broker will never take it.
    BlockPublished { job: JobId, exchange: u32, bytes: usize, result: Result<(), PublishError> },
    /// The block of a task that was to be read from its queue: the number of its outputs, and their
    /// encodings.
    OutputsRead { job: JobId, task: TaskNumber, block: Result<(u32, Bytes), OutputsError> },
    /// The connection was interrupted: messages in queues, and replies, may be lost.
    Interrupted,
    /// The reply to a copy does not decode.
    UndecodableReply { copy: CopyId, reason: String },
    /// The reader of a job took outputs that were charged with this many bytes.
    Taken { job: JobId, bytes: usize },
    /// The program cancelled a job, or dropped all its handles.
    Cancel { job: JobId },
    /// The leader closes, which ends all its jobs.
    Close(Ending),
    /// A worker has connected.
    Hello(Box<Presence>),
    /// A worker is live: the event that it publishes periodically.
    Presence(Box<Presence>),
    /// A worker has ended.
    Bye(WorkerId),
    /// The state of the connection has changed.
    Health(Health),
    /// Time has passed; `unread` if a reply had arrived that was not read yet.
    Tick { elapsed: Duration, unread: bool },
}

/// Whether a job writes dead letters about elements that fail permanently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadLettering {
    On,
    /// For a replay, which keeps the dead letter that it came from.
    Off,
}

/// Why a block of outputs cannot be read.
#[derive(Debug, Clone)]
pub(crate) enum OutputsError {
    /// The queue has lost it.
    Lost,
    /// The broker refuses.
    Refused(BrokerError),
}

/// The state of a pull.
#[derive(Debug)]
pub(crate) enum Pull {
    /// The source pauses; more elements of the same pull may follow.
    Pausing,
    /// The pull yielded as many elements or bytes as requested.
    Done,
    /// The source has no more elements.
    Ended,
    /// The source failed at the element that follows the last one.
    Failed(Arc<dyn std::error::Error + Send + Sync>),
}

/// A command of the engine to the driver. Some lead to an input later.
#[derive(Debug)]
pub(crate) enum Action {
    /// Publish a copy of a task; leads to `Published` or `NotPublished`.
    Publish { pool: Pool, message: Box<TaskMessage> },
    /// Publish a probe through the queue of a pool; leads to `Probed`.
    Probe { pool: Pool, nonce: u64 },
    /// Declare the queue of a pool; leads to `Declared`.
    Declare { pool: Pool },
    /// Declare, renew or delete queues of one exchange, after what was begun before for its job;
    /// leads to `Managed`. The end of a job waits for that.
    Manage { action: QueueAction, queues: Vec<ShuffleQueue> },
    /// Publish blocks of one exchange until their queues have them or the job is over; leads to a
    /// `BlockPublished` for each.
    PublishBlocks { blocks: Vec<BlockMessage> },
    /// Read the next of the blocks that an execution has written into the queue of its task; leads
    /// to `OutputsRead`.
    ReadOutputs { job: JobId, task: TaskNumber, execution: ExecutionId, blocks: u32 },
    /// Pull up to this many elements and bytes from a source of a job; leads to `Pulled`.
    Pull { job: JobId, source: usize, elements: u64, bytes: usize },
    /// Hand outputs to the reader of a job.
    Output { job: JobId, outputs: OutputBlock },
    /// End a job, with its last progress.
    End { job: JobId, progress: Progress, result: Result<(), Error> },
    /// Announce to all workers that a job is dead.
    Cancel { job: JobId },
    /// Announce the live jobs to a new worker, which takes no task before that, or for a second.
    Greet { worker: WorkerId },
    /// Emit an event to the watchers of a job.
    Emit { job: JobId, event: JobEvent },
    /// Write a dead letter.
    DeadLetter { element: Box<DeadElement> },
}
