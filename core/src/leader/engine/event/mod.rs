//! Reports about a job to the program that watches it: events, stalls and progress.

mod progress;
mod stall;

use std::time::Duration;

pub use progress::{ExchangeProgress, Progress, StageProgress};
pub use stall::Stall;

use crate::{
    id::{CopyId, WorkerId},
    operation::{Group, OperationError},
    wire::ReturnReason,
};

/// An event of a job: its start and end, failures, retries, reissued tasks and stalls.
///
/// From [`JobEvents::next`](crate::leader::JobEvents::next). Elements that succeed emit no events:
/// [`Progress`] counts them.
///
/// ```
/// # use phalanx::prelude::*;
/// # use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
/// #[operation]
/// fn fetch(id: u64) -> Result<u64> {
///     static CALLS: AtomicU32 = AtomicU32::new(0);
///     match CALLS.fetch_add(1, Relaxed) {
///         0 => Err(OperationError::fatal("the server is busy").transient()),
///         _ => Ok(id),
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let (job, results) = IndexedStream::from([7]).map(Fetch).start(&runtime)?;
/// let mut events = job.events();
/// # let mut retried = Vec::new();
/// let _fetched = results.collect().await?;
/// while let Some(event) = events.next().await {
///     match event {
///         JobEvent::ElementRetried { index, tries, error, .. } => {
///             println!("element {index} failed on try {tries}: {error}");
/// #           retried.push((index, tries));
///         }
///         JobEvent::Stalled(stall) => println!("no progress: {stall}"),
///         other => println!("{other:?}"),
///     }
/// }
/// # assert_eq!(retried, [(0, 1)]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum JobEvent {
    /// The job started.
    Started {
        /// The number of stages of the plan, at least 1.
        stages: usize,
        /// The number of elements of the source; `None` if it is not known in advance.
        elements: Option<u64>,
    },
    /// An element failed transiently, crashed or timed out, and will be retried.
    ElementRetried {
        /// The index of the element in the source, from 0; behind an exchange, its position.
        index: u64,
        /// Where the element is, and its key, if an exchange made it.
        group: Option<Group>,
        /// The name of the operation that failed.
        operation: String,
        /// The number of the try that failed, from 1.
        tries: u32,
        /// The back-off before the next try.
        delay: Duration,
        /// The error of the failed try.
        error: OperationError,
    },
    /// An element failed permanently and is left out of the results, because the program uses
    /// [`OnFailure::Skip`](crate::plan::OnFailure::Skip).
    ElementSkipped {
        /// The index of the element in the source, from 0; behind an exchange, its position.
        index: u64,
        /// Where the element is, and its key, if an exchange made it.
        group: Option<Group>,
        /// The name of the operation that failed.
        operation: String,
        /// The error of the last try.
        error: OperationError,
    },
    /// A worker returned a task without running it. The task is reissued; its elements are charged
    /// no try, unless their process crashed.
    TaskReturned {
        /// The copy that was returned.
        copy: CopyId,
        /// The worker that returned the copy.
        worker: WorkerId,
        /// The reason of the worker.
        reason: ReturnReason,
    },
    /// A task has outlasted the hold (30 s by default), so its worker has settled the delivery.
    /// From now on the worker renews a lease of the task by a heartbeat every 5 s.
    TaskLeased {
        /// The copy that runs.
        copy: CopyId,
        /// The worker that runs the copy.
        worker: WorkerId,
    },
    /// A worker that has run something for this leader, in a pool that the job uses, has not been
    /// heard from for 15 s, and did not end in order: it has died, or is cut off from the broker.
    /// Its tasks are reissued, as [`TaskReissued`](Self::TaskReissued) or
    /// [`TaskReturned`](Self::TaskReturned) report.
    WorkerLost {
        /// The worker.
        worker: WorkerId,
        /// Its name: host name and process id by default.
        name: String,
    },
    /// Another copy of a task is published because the previous copy is lost, may be lost, or was
    /// not accepted by the broker.
    TaskReissued {
        /// The new copy.
        copy: CopyId,
        /// Why the task was reissued: a sentence for people.
        reason: String,
    },
    /// The job has made no progress for the
    /// [`stall_after`](crate::leader::RuntimeBuilder::stall_after) of its runtime (25 s by
    /// default), or it does but crawls ([`Stall::Crawling`]) or loses tasks again and again
    /// ([`Stall::Losing`]). Emitted again when the cause becomes another variant of [`Stall`].
    Stalled(Stall),
    /// The blocks of an exchange are more than fit into messages: from now on they travel through
    /// queues, one for each partition.
    ExchangeSpread {
        /// What was written to it so far.
        exchange: ExchangeProgress,
    },
    /// All that feeds an exchange is settled: from now on it is read.
    ExchangeSealed {
        /// What was written to it.
        exchange: ExchangeProgress,
    },
    /// The job makes progress again after a stall.
    Resumed,
    /// The job ended: the last event.
    Ended {
        /// The text of the [`Error`](crate::Error) that the job failed with; `None` if it
        /// succeeded.
        error: Option<String>,
    },
}
