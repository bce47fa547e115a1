//! The progress of a job, in numbers.

/// The progress of a job, in numbers that only grow, except `tasks_out`.
///
/// From [`Job::progress`](crate::leader::Job::progress), which changes whenever one of the numbers
/// does.
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
/// let mut progress = job.progress();
/// let _numbers = results.collect().await?;
///
/// let last = *progress.wait_for(|progress| progress.ended).await.unwrap();
/// assert_eq!((last.total, last.pulled, last.done), (Some(3), 3, 3));
/// assert_eq!((last.failed, last.outputs), (1, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// The number of elements of the source; `None` if it is not known in advance.
    pub total: Option<u64>,
    /// The number of elements that were taken from the source.
    pub pulled: u64,
    /// The number of elements that have passed the first stage, or failed permanently in it. Later
    /// stages may still be working on their outputs.
    pub done: u64,
    /// The number of elements that failed permanently and were skipped, or that a `try_map` turned
    /// into values.
    pub failed: u64,
    /// The number of retries: tries beyond the first of each element or combination.
    pub retried: u64,
    /// The number of tasks that are published and have no result yet.
    pub tasks_out: u32,
    /// The number of results that were handed to the reader. A `fold`, `reduce` or `count` has one.
    pub outputs: u64,
    /// Whether the job is over: it succeeded, failed or was cancelled.
    pub ended: bool,
}
