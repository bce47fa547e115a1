//! The queues of blocks of a shuffle.

use std::{fmt, time::Duration};

use crate::id::{JobId, TaskNumber};

/// A queue of blocks; displayed, it is the routing key.
///
/// ```
/// use phalanx::{
///     broker::ShuffleQueue,
///     id::{JobId, TaskNumber},
/// };
///
/// let job = JobId::new();
/// let partition = ShuffleQueue::Partition { job, exchange: 1, partition: 63 };
/// assert_eq!(partition.to_string(), format!("{job}.1.63"));
/// let output = ShuffleQueue::Output { job, task: TaskNumber(7) };
/// assert_eq!(output.to_string(), format!("{job}.7.output"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ShuffleQueue {
    /// What feeding tasks write into one partition of an exchange, for the tasks that read it.
    Partition {
        /// The job.
        job: JobId,
        /// The number of the exchange in the job.
        exchange: u32,
        /// The partition.
        partition: u32,
    },
    /// The outputs of one task, for the leader.
    Output {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskNumber,
    },
}

impl ShuffleQueue {
    /// How long a queue of blocks outlives its last consumer and its last declaration.
    pub const EXPIRES: Duration = Duration::from_secs(30 * 60);

    /// The job that the queue belongs to.
    pub fn job(&self) -> JobId {
        match self {
            Self::Partition { job, .. } | Self::Output { job, .. } => *job,
        }
    }
}

impl fmt::Display for ShuffleQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition { job, exchange, partition } => {
                write!(f, "{job}.{exchange}.{partition}")
            }
            Self::Output { job, task } => write!(f, "{job}.{}.output", task.0),
        }
    }
}
