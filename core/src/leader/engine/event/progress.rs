//! The progress of a job, in numbers.

use std::fmt;

/// The progress of a job, in numbers that only grow, except `tasks_out`.
///
/// From [`Job::progress`](crate::leader::Job::progress), which changes whenever one of the numbers
/// does. The numbers are final once `ended` is set. That happens before the results of the job end,
/// except with `take` and `first`, which need not wait for the end of the job.
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation]
/// fn parse(text: &str) -> Result<u32> {
///     Ok(text.parse()?)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let texts = ["1", "two", "3"].map(String::from);
/// let numbers = IndexedStream::from(texts).map(Parse).on_failure(OnFailure::Skip);
/// let (job, results) = numbers.start(&runtime)?;
/// let _numbers = results.collect().await?;
///
/// let last = job.progress().borrow().clone();
/// assert!(last.ended);
/// assert_eq!((last.total, last.pulled, last.done), (Some(3), 3, 3));
/// assert_eq!((last.failed, last.outputs), (1, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// The number of elements of the source; `None` if it is not known in advance.
    pub total: Option<u64>,
    /// The number of elements that were taken from the source.
    pub pulled: u64,
    /// The number of elements of the source that are through: all that was made from them has
    /// passed the last stage, failed permanently, or was filtered out.
    pub done: u64,
    /// The number of elements that failed permanently and were skipped, or that a `try_map` turned
    /// into values, in all stages.
    pub failed: u64,
    /// The number of retries in all stages: tries beyond the first of each element or combination.
    pub retried: u64,
    /// The number of tasks of all stages that are published and have no result yet; 0 at the end.
    pub tasks_out: u32,
    /// The number of results that were handed to the reader. A `fold`, `reduce` or `count` has one.
    pub outputs: u64,
    /// The numbers of each stage, in the order of
    /// [`explain`](crate::plan::IndexedStream::explain); empty until the job has started.
    pub stages: Vec<StageProgress>,
    /// The numbers of each exchange, in the order of `explain`.
    pub exchanges: Vec<ExchangeProgress>,
    /// Whether the job is over: it succeeded, failed or was cancelled.
    pub ended: bool,
}

/// What was written to one exchange of a job, in [`Progress::exchanges`].
///
/// Displayed, it is a line such as "`count_by_value`: 4 rows in 3 blocks of 64 bytes, made from 6
/// rows of 18 bytes, in 4 partitions of at most 40 bytes".
///
/// ```
/// # use phalanx::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let words = ["to", "be", "or", "not", "to", "be"].map(String::from);
/// let counts = IndexedStream::from(words).batch(6).count_by_value().partitions(4);
/// let (job, counts) = counts.start(&runtime)?;
/// let _counts = counts.collect().await?;
///
/// let exchange = job.progress().borrow().exchanges[0];
/// assert!(exchange.sealed);
/// assert_eq!(exchange.rows_uncombined, 6);
/// assert_eq!(exchange.rows, 4); // `to` and `be` were counted before they travelled
/// assert_eq!((exchange.directive, exchange.partitions), ("count_by_value", 4));
/// assert!(exchange.to_string().starts_with("`count_by_value`: 4 rows in "));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExchangeProgress {
    /// The directive that the exchange was made for.
    pub directive: &'static str,
    /// The number of partitions; 0 until it is decided, when the first task that writes to the
    /// exchange is published.
    pub partitions: u32,
    /// The bytes of the blocks of the largest partition: far more than the mean if a few keys have
    /// most of the rows, or most keys are equal.
    pub largest: u64,
    /// The number of blocks.
    pub blocks: u64,
    /// The number of rows: pairs of key and value, after those of one task and one key were
    /// combined.
    pub rows: u64,
    /// The bytes of all blocks.
    pub bytes: u64,
    /// The number of rows before those of one task and one key were combined.
    pub rows_uncombined: u64,
    /// The bytes of their keys and values.
    pub bytes_uncombined: u64,
    /// The number of queues through which the blocks travel; 0 while they are few enough to travel
    /// in messages, and in memory unless
    /// [`block_memory`](crate::leader::RuntimeBuilder::block_memory) is set.
    pub queues: u32,
    /// The bytes of blocks that workers have gathered on their disks, because a partition needs
    /// more memory than a worker has for it. A task that is run again counts again.
    pub spilled: u64,
    /// The bytes of outputs behind the exchange that went through queues, because they were more
    /// than fit into results.
    pub queued_outputs: u64,
    /// Whether all has been written, and the exchange is read.
    pub sealed: bool,
}

impl fmt::Display for ExchangeProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { directive, partitions, largest, blocks, rows, bytes, .. } = self;
        let Self { rows_uncombined, bytes_uncombined, .. } = self;
        let spread = if self.queues > 0 { ", spread over queues" } else { "" };
        let spilled = match self.spilled {
            0 => String::new(),
            bytes => format!(", {bytes} bytes of them gathered on disk"),
        };
        let queued = match self.queued_outputs {
            0 => String::new(),
            bytes => format!("; {bytes} bytes of outputs behind it went through queues"),
        };
        write!(
            f,
            "`{directive}`: {rows} rows in {blocks} blocks of {bytes} bytes, made from \
             {rows_uncombined} rows of {bytes_uncombined} bytes, in {partitions} partitions of at \
             most {largest} bytes{spread}{spilled}{queued}"
        )
    }
}

/// The progress of one stage of a job, in [`Progress::stages`].
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation]
/// fn words(text: String) -> Vec<String> {
///     text.split(' ').map(String::from).collect()
/// }
///
/// #[operation]
/// fn length(word: &str) -> usize {
///     word.len()
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let texts = ["to be", "or not"].map(String::from);
/// // A `try_map` after a `flat_map` begins a new stage.
/// let program = IndexedStream::from(texts).flat_map(Words).try_map(Length);
/// let (job, results) = program.start(&runtime)?;
/// assert_eq!(results.collect().await?.len(), 4);
///
/// let last = job.progress().borrow().clone();
/// assert_eq!(last.done, 2); // texts
/// assert_eq!((last.stages[0].entered, last.stages[0].done), (2, 2)); // texts
/// assert_eq!((last.stages[1].entered, last.stages[1].done), (4, 4)); // words
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StageProgress {
    /// The number of elements that have entered the stage: of the first stage, those pulled; of
    /// the others, outputs of the stage before.
    pub entered: u64,
    /// The number of elements that have passed the stage, or failed permanently in it.
    pub done: u64,
    /// The number of elements that failed permanently and were skipped, or that a `try_map` turned
    /// into values.
    pub failed: u64,
    /// The number of retries: tries beyond the first of each element or combination.
    pub retried: u64,
    /// The number of tasks that are published and have no result yet.
    pub tasks_out: u32,
}
