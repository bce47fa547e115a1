//! The errors of exchanges whose blocks travel through the broker.

use std::time::Duration;

use crate::{
    broker::{BrokerError, PublishError},
    id::{JobId, TaskNumber},
    operation::KeyPrefix,
    report::number,
};

/// The error of an exchange whose blocks could not be carried through the broker.
///
/// Displayed, it is one line that names the job, the directive, what happened and what to do.
///
/// ```
/// use phalanx::{error::{ShuffleError, ShuffleFailure::BlocksLost}, id::JobId};
///
/// # fn lost(job: JobId) -> ShuffleError {
/// #     let failure = BlocksLost { partition: 3, announced: 300, found: 299 };
/// #     ShuffleError::new(job, "group_by_key", failure)
/// # }
/// let error: ShuffleError = lost(JobId::new());
/// if let BlocksLost { partition, announced, found } = &error.failure {
///     println!("run it again: partition {partition} has {found} of {announced} blocks");
/// }
/// # assert!(error.to_string().contains("partition 3"), "{error}");
/// ```
#[derive(Clone, thiserror::Error)]
#[error("job {job}: `{directive}` failed: {failure}")]
#[non_exhaustive]
pub struct ShuffleError {
    /// The job that failed.
    pub job: JobId,
    /// The directive of the exchange.
    pub directive: &'static str,
    /// What happened.
    #[source]
    pub failure: ShuffleFailure,
}

impl ShuffleError {
    /// The error of the exchange that was made for `directive`.
    pub fn new(job: JobId, directive: &'static str, failure: ShuffleFailure) -> Self {
        Self { job, directive, failure }
    }
}

/// What happened to an exchange whose blocks travel through the broker, in
/// [`ShuffleError::failure`].
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ShuffleFailure {
    /// A queue cannot be declared, renewed or bound.
    #[error(
        "its blocks are more than fit into messages, and their queues cannot be used: {source}{}",
        permissions(source)
    )]
    Queue {
        /// The error of the broker.
        #[source]
        source: BrokerError,
    },
    /// A block cannot be published.
    #[error("a block cannot be published: {source}")]
    Publish {
        /// The error of the broker.
        #[source]
        source: PublishError,
    },
    /// The broker has lost blocks. The result is not known, so the job must be run again.
    #[error("{}; run the program again", lost(*partition, *announced, *found))]
    BlocksLost {
        /// The partition.
        partition: u32,
        /// The number of blocks that were written, as far as it is known; 0 if the queue was lost
        /// before the leader knew of any.
        announced: u64,
        /// The number of blocks that were found.
        found: u64,
    },
    /// The broker has lost outputs that were too many for a result and went through a queue. They
    /// were made, and cannot be made again: the job must be run again.
    #[error("{}; run the program again", outputs_lost(*task, *announced, *found))]
    OutputsLost {
        /// The task.
        task: TaskNumber,
        /// The number of blocks that were written; 0 if the queue was lost before the result.
        announced: u32,
        /// The number of those that were read.
        found: u32,
    },
    /// The outputs that a worker has written to a queue are not those of its result: a bug of
    /// Phalanx, or somebody else writes to the queue.
    #[error("the outputs of task {task} in its queue do not fit its result; run the program again")]
    OutputsMalformed {
        /// The task.
        task: TaskNumber,
    },
    /// The broker takes blocks back before a worker has read a whole partition.
    #[error(
        "a worker has read {bytes} bytes of partition {partition} in {elapsed:?}, and the broker \
         then took them back: {reason}; raise its `consumer_timeout`, or use more partitions \
         (`.partitions(n)`)"
    )]
    AckTimeout {
        /// The partition.
        partition: u32,
        /// The bytes that had arrived the last time.
        bytes: u64,
        /// The time that they took.
        elapsed: Duration,
        /// The message of the broker, with the timeout.
        reason: String,
    },
    /// Rows that must be in memory together need more of it than a worker has for them.
    #[error(
        "{bytes} bytes of partition {partition} must be in memory at once, and a worker has \
         {limit} bytes for them: key {key} alone has {key_bytes} bytes; combine its values before \
         (`reduce_by_key`), or give workers more memory (`--gather-memory`)"
    )]
    PartTooLarge {
        /// The partition.
        partition: u32,
        /// The bytes of the rows.
        bytes: u64,
        /// The most bytes of rows that the worker has in memory at once.
        limit: u64,
        /// The key with the most bytes.
        key: KeyPrefix,
        /// The bytes of its rows.
        key_bytes: u64,
    },
    /// The job shuffles more than the
    /// [`shuffle_limit`](crate::leader::RuntimeBuilder::shuffle_limit) of its runtime.
    #[error(
        "it has written {bytes} bytes of blocks, and the limit of a job is {limit} bytes; combine \
         the values before (`reduce_by_key`, `count_by_key`), move less, or raise `shuffle_limit` \
         if the disk of the broker has the room"
    )]
    LimitExceeded {
        /// The bytes of the blocks of all exchanges of the job, and of its unread outputs in queues.
        bytes: u64,
        /// The most bytes.
        limit: u64,
    },
    /// The broker has accepted no messages for 60 s, and of all jobs of the leader this one had the
    /// most bytes in its queues. Their deletion frees the broker.
    #[error(
        "the broker has accepted no messages for {blocked:?} ({reason}), and the queues of this \
         job have {bytes} bytes; give the broker more memory or disk, or move less"
    )]
    BrokerFull {
        /// The bytes of the blocks of the job.
        bytes: u64,
        /// How long the broker has accepted no messages.
        blocked: Duration,
        /// The reason of the broker, in its words.
        reason: String,
    },
}

/// The remedy, if a permission is missing.
fn permissions(source: &BrokerError) -> &'static str {
    match source {
        BrokerError::Denied { .. } => {
            "; the user of this program needs the permissions to configure, write and read \
             `phalanx.shuffle.*`"
        }
        _ => "",
    }
}

/// Which blocks are lost, and what may have become of them.
fn lost(partition: u32, announced: u64, found: u64) -> String {
    let causes = "was deleted or has expired";
    match announced {
        0 => {
            format!("the queue of partition {partition} {causes}, or the disk of its node is lost")
        }
        _ => format!(
            "the broker has {found} of {} of partition {partition}: its queue {causes}, a policy \
             limits its length, or the disk of its node is lost",
            number(announced, "block", "blocks")
        ),
    }
}

/// Which outputs are lost, and what may have become of them.
fn outputs_lost(task: TaskNumber, announced: u32, found: u32) -> String {
    let which = match announced {
        0 => format!("the queue for the outputs of task {task} is gone"),
        _ => {
            let blocks = number(u64::from(announced), "block", "blocks");
            format!("only {found} of {blocks} of the outputs of task {task} could be read")
        }
    };
    format!(
        "{which}: the queue was deleted or has expired, a policy limits its length, or the disk of \
         its node is lost"
    )
}

crate::__debug_as_report!(ShuffleError, ShuffleFailure);
