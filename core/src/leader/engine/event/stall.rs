//! The causes of a stall, and what to do about each.

use std::{fmt, time::Duration};

use crate::{
    broker::Pool,
    id::WorkerId,
    operation::{Group, element_name},
    report::number,
};

/// The cause of a stall: why a job makes no progress.
///
/// Displayed, it is one sentence that names the cause and what to do. A job reports its stall as
/// [`JobEvent::Stalled`](crate::leader::JobEvent::Stalled). It fails with that text, as
/// [`Error::Stalled`](crate::Error::Stalled), if the stall outlasts the
/// [`patience`](crate::leader::RuntimeBuilder::patience) of the runtime. `BackingOff`, `InputSlow`,
/// `InputUnfinished` and `ReaderSlow` are caused by the program itself, and never fail a job; nor
/// does `Crawling`.
///
/// ```
/// # use phalanx::{Stall, prelude::*};
/// # use std::time::Duration;
/// # #[operation]
/// # fn triple(n: u64) -> u64 { 3 * n }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// let runtime = Runtime::builder()
///     .url("memory://")
///     .stall_after(Duration::from_millis(100))
///     .connect()
///     .await?;
/// // A source that yields no element.
/// let source = futures::stream::pending::<u64>();
/// let (job, _results) = IndexedStream::from_stream(source).map(Triple).start(&runtime)?;
/// let mut events = job.events();
/// let stall = loop {
///     match events.next().await {
///         Some(JobEvent::Stalled(stall)) => break stall,
///         Some(_) => {}
///         None => panic!("the job is over"),
///     }
/// };
/// assert_eq!(stall, Stall::InputSlow);
/// assert_eq!(stall.to_string(), "the source of the job yields no elements");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stall {
    /// The connection to the broker is lost; the runtime reconnects until it is closed.
    Disconnected {
        /// Why it was lost or cannot be opened again, in the words of the broker or the operating
        /// system.
        reason: String,
    },
    /// The broker accepts no messages because it is low on memory or disk space.
    Blocked {
        /// The reason of the broker, in its words.
        reason: String,
    },
    /// No live worker serves the pool of the oldest task.
    NoWorkers {
        /// The pool.
        pool: Pool,
        /// The number of tasks of the job that are queued in this pool, at least 1.
        tasks: u32,
    },
    /// Workers refuse a task: they lack its operation, or were built with other types. If every
    /// live worker refuses it for 10 s, the job fails with
    /// [`Error::Refused`](crate::Error::Refused).
    Refused {
        /// The name of the first operation of the task.
        operation: String,
        /// The number of workers that refused the task, at least 1.
        workers: usize,
        /// The reason of the worker that refused the task last.
        reason: String,
    },
    /// The oldest task runs on a worker, which has begun no other element for `waited`.
    Running {
        /// The name of the first operation of the task.
        operation: String,
        /// The source index of the first element of the task.
        index: u64,
        /// Where that element is, if an exchange made it.
        group: Option<Group>,
        /// The worker that runs the task.
        worker: WorkerId,
        /// The time since the last progress of the job.
        waited: Duration,
    },
    /// The queue of a partition is on a node of the cluster that is down. A job whose partition is
    /// lost for good fails with
    /// [`ShuffleFailure::BlocksLost`](crate::error::ShuffleFailure::BlocksLost).
    PartitionDown {
        /// The directive of the exchange.
        directive: &'static str,
        /// The partition.
        partition: u32,
        /// The reason of the broker, in its words.
        reason: String,
    },
    /// The queue for outputs behind an exchange is on a node of the cluster that is down. A job whose
    /// outputs are lost for good fails with
    /// [`ShuffleFailure::OutputsLost`](crate::error::ShuffleFailure::OutputsLost).
    OutputsDown {
        /// The directive of the exchange.
        directive: &'static str,
        /// The reason of the broker, in its words.
        reason: String,
    },
    /// The broker has not delivered outputs that wait in a queue.
    OutputsSlow {
        /// The directive of the exchange behind which they were made.
        directive: &'static str,
    },
    /// The queues for the blocks of an exchange, or for outputs behind it, are being declared.
    Spreading {
        /// The directive of the exchange.
        directive: &'static str,
    },
    /// The oldest task is still in its queue, after other tasks: all workers of the pool are busy.
    Queued {
        /// The pool of the oldest task.
        pool: Pool,
        /// The number of tasks of the job that are out in this pool, at least 1.
        tasks: u32,
    },
    /// The queue of a pool does not exist and cannot be declared.
    QueueGone {
        /// The pool.
        pool: Pool,
        /// The reason of the broker, in its words.
        reason: String,
    },
    /// The oldest task has left its queue, and no reply has come: its worker hangs, or the broker
    /// lost the task.
    Missing {
        /// The pool of the oldest task.
        pool: Pool,
        /// The number of tasks of the job that are out in this pool, at least 1.
        tasks: u32,
        /// The time until the task counts as lost and is reissued, at most two holds (60 s by
        /// default).
        reissue_in: Duration,
    },
    /// Tasks are out, no reply has come, and no probe of their queue is on its way yet: the next
    /// one follows within a hold (30 s by default).
    NoReply {
        /// The pool of the oldest task.
        pool: Pool,
        /// The number of tasks of the job that are out in this pool, at least 1.
        tasks: u32,
        /// The time since the last progress of the job.
        waited: Duration,
    },
    /// Tasks have left their queue without a reply twice in a row or more often: something drops
    /// them, and would do so for ever. Reported even if other tasks of the job make progress.
    Losing {
        /// The pool of the oldest of these tasks.
        pool: Pool,
        /// The number of such tasks of the job in this pool, at least 1.
        tasks: u32,
        /// How often in a row the task that was lost most often was lost, at least 2.
        rounds: u32,
    },
    /// Tasks are queued, and the probes that follow them through the queue do not come back: all
    /// workers of the pool have been busy for minutes, or something drops messages of the queue.
    Unanswered {
        /// The pool of the oldest task.
        pool: Pool,
        /// The number of tasks of the job that are out in this pool, at least 1.
        tasks: u32,
        /// The number of probes in a row that did not come back in time, at least 2.
        probes: u32,
    },
    /// The broker does not accept the tasks of a pool, again and again.
    NotAccepted {
        /// The pool of the oldest of these tasks.
        pool: Pool,
        /// The number of such tasks of the job in this pool, at least 1.
        tasks: u32,
        /// The reason of the broker for the oldest, in its words.
        reason: String,
    },
    /// The job makes progress, but at less than a tenth of its best rate for half a minute, while
    /// tasks are queued and most slots seem to be free. Never fails a job.
    Crawling {
        /// The pool of the stage that crawls.
        pool: Pool,
        /// The number of elements that its workers got done in `length`.
        done: u64,
        /// The number of elements that they got done in as long at their best.
        best: u64,
        /// The time that was looked at: the last half minute.
        length: Duration,
        /// The number of tasks of the stage that are out and that no lease names.
        tasks: u32,
        /// The number of slots of the pool that no lease takes up.
        slots: u32,
    },
    /// Failed elements wait for their next try, and nothing else is left to run.
    BackingOff {
        /// The number of tasks that wait, at least 1.
        tasks: u32,
        /// The time until the first of them is published.
        retry_in: Duration,
    },
    /// The source of the job yields no elements.
    InputSlow,
    /// The source of the job yields no elements and has not ended, and an exchange waits for its
    /// end.
    InputUnfinished {
        /// The directive that the exchange was made for.
        directive: &'static str,
        /// The number of elements so far.
        elements: u64,
    },
    /// The program does not read the results of the job, whose buffer is full.
    ReaderSlow {
        /// The number of bytes that wait to be read.
        bytes: usize,
    },
}

impl Stall {
    /// Whether progress does not end this stall: only its own cause does.
    pub(crate) fn outlasts_progress(&self) -> bool {
        matches!(self, Self::Losing { .. } | Self::Crawling { .. })
    }

    /// Whether the program itself delays the job: then its patience does not run out.
    pub(crate) fn is_caused_by_program(&self) -> bool {
        matches!(
            self,
            Self::InputSlow
                | Self::InputUnfinished { .. }
                | Self::ReaderSlow { .. }
                | Self::BackingOff { .. }
        )
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected { reason } => {
                write!(f, "lost the connection to the broker ({reason}); reconnecting")
            }
            Self::Blocked { reason } => write!(
                f,
                "the broker accepts no messages ({reason}); free memory or disk space on its host"
            ),
            Self::NoWorkers { pool, tasks } => write!(
                f,
                "no worker serves pool `{pool}`, in which {}; start one with `--pool {pool}`",
                number(*tasks, "task is queued", "tasks are queued")
            ),
            Self::Refused { operation, workers, reason } => write!(
                f,
                "{} operation `{operation}` ({reason}); start workers with the same build as this \
                 program",
                number(*workers, "worker refuses", "workers refuse")
            ),
            Self::Running { operation, index, group, worker, waited } => write!(
                f,
                "operation `{operation}` has run on worker {worker} for {} s, in the task that \
                 begins with {}; set a timeout if it should not take that long",
                waited.as_secs(),
                element_name(*index, group.as_ref())
            ),
            Self::PartitionDown { directive, partition, reason } => write!(
                f,
                "the queue of partition {partition} of `{directive}` cannot be reached: {reason}; \
                 start the node of the cluster that has it"
            ),
            Self::OutputsDown { directive, reason } => write!(
                f,
                "a queue of outputs behind `{directive}` cannot be reached: {reason}; start the \
                 node of the cluster that has it"
            ),
            Self::OutputsSlow { directive } => write!(
                f,
                "outputs behind `{directive}` wait in a queue, and the broker does not deliver \
                 them: look for another consumer of `phalanx.shuffle.*.output`, and at the load of \
                 the broker"
            ),
            Self::Spreading { directive } => {
                write!(f, "the queues of `{directive}` are being declared")
            }
            Self::Queued { pool, tasks } => write!(
                f,
                "{} behind others in the queue of pool `{pool}`, or the replies do not arrive; if \
                 its workers are busy or hang, start more with `--pool {pool}`",
                number(*tasks, "task waits", "tasks wait")
            ),
            Self::QueueGone { pool, reason } => write!(
                f,
                "the queue of pool `{pool}` does not exist and cannot be declared ({reason}); \
                 permit the leader to declare it, or declare it by hand"
            ),
            Self::Missing { pool, tasks, reissue_in } => write!(
                f,
                "{} the queue of pool `{pool}` without a reply: a worker hangs, or the broker lost \
                 the task or the reply; reissuing in {} s",
                number(*tasks, "task has left", "tasks have left"),
                reissue_in.as_secs()
            ),
            Self::NoReply { pool, tasks, waited } => write!(
                f,
                "{} in pool `{pool}`, and no reply has come for {} s; the queue will be probed",
                number(*tasks, "task is out", "tasks are out"),
                waited.as_secs()
            ),
            Self::Losing { pool, tasks, rounds } => write!(
                f,
                "{} the queue of pool `{pool}` without a reply {rounds} times in a row: look for a \
                 policy that drops or expires messages of that queue (`max-length`, \
                 `message-ttl`), a full disk on the host of the broker, or workers that hang",
                number(*tasks, "task has left", "tasks have left")
            ),
            Self::Unanswered { pool, tasks, probes } => write!(
                f,
                "{} in pool `{pool}`, and {probes} probes in a row did not come through that \
                 queue: its workers are busy with long operations or hang (start more with \
                 `--pool {pool}`), a policy drops or expires its messages (`max-length`, \
                 `message-ttl`), or the disk of the broker is full",
                number(*tasks, "task is queued", "tasks are queued")
            ),
            Self::NotAccepted { pool, tasks, reason } => write!(
                f,
                "the broker does not accept {} for pool `{pool}` ({reason}): look for a policy \
                 that limits that queue (`max-length` with `reject-publish`), or a full disk on \
                 the host of the broker",
                number(*tasks, "task", "tasks")
            ),
            Self::Crawling { pool, done, best, length, tasks, slots } => write!(
                f,
                "the workers of pool `{pool}` got {} done in {} s, and {best} in as long at their \
                 best, while {} and {} not taken by long ones: they serve other programs, or their \
                 connections lose data; look at the log of the workers, and restart those that \
                 hang",
                number(*done, "element", "elements"),
                length.as_secs(),
                number(*tasks, "task is out", "tasks are out"),
                number(*slots, "slot is", "slots are")
            ),
            Self::BackingOff { tasks, retry_in } => write!(
                f,
                "{} for the back-off of failed elements; retrying in {} s",
                number(*tasks, "task waits", "tasks wait"),
                retry_in.as_secs()
            ),
            Self::InputSlow => write!(f, "the source of the job yields no elements"),
            Self::InputUnfinished { directive, elements } => write!(
                f,
                "`{directive}` waits for the end of the input: {} so far; if the input never ends, \
                 put a `take` directly after the source",
                number(*elements, "element", "elements")
            ),
            Self::ReaderSlow { bytes } => write!(
                f,
                "the program does not read the results of the job: {bytes} bytes are waiting; read \
                 them, or drop the job"
            ),
        }
    }
}
