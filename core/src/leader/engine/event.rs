//! What happens to a job, for those who watch.

use std::{fmt, time::Duration};

use crate::{
    broker::Pool,
    id::{CopyId, WorkerId},
    operation::OperationError,
    wire::ReturnReason,
};

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum JobEvent {
    /// It began.
    Started {
        /// Stages of its plan.
        stages: usize,
        /// Elements of its source, where that is known.
        elements: Option<u64>,
    },
    /// An element failed and is tried again.
    ElementRetried {
        /// Its index in the source.
        index: u64,
        /// The operation that failed.
        operation: String,
        /// The try that failed, from 1.
        tries: u32,
        /// How long it waits.
        delay: Duration,
        /// Why it failed.
        error: OperationError,
    },
    /// An element failed for good and is left out.
    ElementSkipped {
        /// Its index in the source.
        index: u64,
        /// The operation that failed.
        operation: String,
        /// Why it failed.
        error: OperationError,
    },
    /// A worker gave a task back without running it.
    TaskReturned {
        /// The copy that came back.
        copy: CopyId,
        /// The worker that returned it.
        worker: WorkerId,
        /// Why it was not run.
        reason: ReturnReason,
    },
    /// A task runs so long that its worker keeps it alive by itself: it is not the broker's any more.
    TaskLeased {
        /// The copy that runs.
        copy: CopyId,
        /// The worker that runs it.
        worker: WorkerId,
    },
    /// A task was published again: the broker did not take it, lost it, or nobody knows.
    TaskReissued {
        /// The new copy.
        copy: CopyId,
        /// Why the previous one is not enough.
        reason: String,
    },
    /// Nothing has moved for a while.
    Stalled(Stall),
    /// It moves again.
    Resumed,
    /// It is over.
    Ended {
        /// Why it failed, if it did.
        error: Option<String>,
    },
}

/// Why a job does not move.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stall {
    /// The connection to the broker is lost.
    Disconnected,
    /// The broker takes no messages.
    Blocked {
        /// In the broker's words.
        reason: String,
    },
    /// Nobody serves a pool.
    NoWorkers {
        /// The pool.
        pool: Pool,
        /// Tasks that wait in it.
        tasks: u32,
    },
    /// Workers refuse an operation.
    Refused {
        /// The operation.
        operation: String,
        /// Workers that refused it.
        workers: usize,
        /// What the last of them said.
        reason: String,
    },
    /// A worker runs the oldest task, and gets no further.
    Running {
        /// The first operation of the task.
        operation: String,
        /// The index of the first element of its batch.
        index: u64,
        /// Who runs it.
        worker: WorkerId,
        /// How long it has been at the same element.
        silent: Duration,
    },
    /// Tasks wait in their queue behind others.
    Queued {
        /// The pool of the oldest one.
        pool: Pool,
        /// How many tasks are out.
        tasks: u32,
    },
    /// The queue of a pool is gone and cannot be made again.
    QueueGone {
        /// The pool.
        pool: Pool,
        /// In the broker's words.
        reason: String,
    },
    /// Tasks have left their queue, and nobody answers for them.
    Missing {
        /// The pool of the oldest one.
        pool: Pool,
        /// How many tasks are out.
        tasks: u32,
        /// When they are sent again.
        again: Duration,
    },
    /// Tasks are out and nobody answers.
    NoReply {
        /// The pool of the oldest one.
        pool: Pool,
        /// How many tasks are out.
        tasks: u32,
        /// How long nothing has come back.
        silent: Duration,
    },
    /// Elements that failed wait for their next try.
    BackingOff {
        /// How many tasks wait.
        tasks: u32,
        /// When the first of them goes out.
        next: Duration,
    },
    /// The source gives nothing.
    InputSlow,
    /// Nobody takes the results.
    ReaderSlow {
        /// Bytes that wait for the reader.
        bytes: usize,
    },
}

impl Stall {
    /// Whether the program itself is what the job waits for: no patience runs out over that.
    pub(crate) fn is_caused_by_program(&self) -> bool {
        matches!(self, Self::InputSlow | Self::ReaderSlow { .. } | Self::BackingOff { .. })
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => {
                write!(f, "the connection to the broker is lost; it is tried again all the time")
            }
            Self::Blocked { reason } => write!(
                f,
                "the broker takes no messages ({reason}); free memory or disk space there"
            ),
            Self::NoWorkers { pool, tasks } => write!(
                f,
                "no worker serves pool `{pool}`, where {tasks} tasks wait; start one with `--pool {pool}`"
            ),
            Self::Refused { operation, workers, reason } => write!(
                f,
                "{workers} workers refuse operation `{operation}` ({reason}); start workers built like this program"
            ),
            Self::Running { operation, index, worker, silent } => write!(
                f,
                "operation `{operation}` has run on worker {worker} for {} s, in a task that begins \
                 with element {index}; give it a timeout if it should not take that long",
                silent.as_secs()
            ),
            Self::Queued { pool, tasks } => write!(
                f,
                "{tasks} tasks wait behind others in the queue of pool `{pool}`, whose workers are \
                 busy or hang; start more of them with `--pool {pool}`"
            ),
            Self::QueueGone { pool, reason } => write!(
                f,
                "the queue of pool `{pool}` is gone and cannot be made again ({reason}); let the \
                 leader declare it, or make it by hand"
            ),
            Self::Missing { pool, tasks, again } => write!(
                f,
                "{tasks} tasks have left the queue of pool `{pool}` and nobody answers for them: \
                 their workers hang, or the broker lost them; they are sent again in {} s",
                again.as_secs()
            ),
            Self::NoReply { pool, tasks, silent } => write!(
                f,
                "{tasks} tasks are out in pool `{pool}` and nothing came back for {} s; their queue \
                 is about to be probed",
                silent.as_secs()
            ),
            Self::BackingOff { tasks, next } => {
                write!(f, "{tasks} tasks wait to be tried again, the first in {} s", next.as_secs())
            }
            Self::InputSlow => write!(f, "the input of the job gives nothing"),
            Self::ReaderSlow { bytes } => {
                write!(f, "nobody takes the results of the job: {bytes} bytes wait")
            }
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Elements of the source, where that is known.
    pub total: Option<u64>,
    /// Elements taken from the source.
    pub pulled: u64,
    /// Elements of the first stage that are done (their outputs may still be on their way).
    pub done: u64,
    /// Elements that failed for good and were left out or became values.
    pub failed: u64,
    /// Tries beyond the first.
    pub retried: u64,
    /// Tasks that are with the broker or the workers.
    pub tasks_out: u32,
    /// Results handed to the reader.
    pub outputs: u64,
    /// Whether it is over.
    pub ended: bool,
}
