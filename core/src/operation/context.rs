//! The context in which an operation runs.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

use crate::id::{JobId, WorkerId};

/// The part of a [`TaskContext`] that all elements of one batch share. Made by the worker.
#[derive(Debug)]
pub struct Execution {
    /// The job that the task belongs to.
    pub job: JobId,
    /// The stage of the plan, from 0.
    pub stage: u32,
    /// The worker that runs the batch.
    pub worker: WorkerId,
    /// The positions of the elements and their tries, in batch order. Those of partitions become
    /// known while these are read.
    pub ranges: RwLock<Vec<ElementRange>>,
    /// The source index of each element, in batch order; empty if each index equals the position.
    pub indexes: Vec<u64>,
    /// Cancelled when the job is cancelled, the element has timed out or the worker must stop.
    pub cancelled: CancellationToken,
}

impl Clone for Execution {
    fn clone(&self) -> Self {
        Self {
            job: self.job,
            stage: self.stage,
            worker: self.worker,
            ranges: RwLock::new(self.ranges().clone()),
            indexes: self.indexes.clone(),
            cancelled: self.cancelled.clone(),
        }
    }
}

impl Execution {
    /// The positions of the elements, as far as they are known.
    pub fn ranges(&self) -> RwLockReadGuard<'_, Vec<ElementRange>> {
        self.ranges.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the positions of the elements, of which more are known now.
    pub fn set_ranges(&self, ranges: Vec<ElementRange>) {
        *self.ranges.write().unwrap_or_else(PoisonError::into_inner) = ranges;
    }
}

/// The elements at positions `from..to` of a stage's input, which are all on the same try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ElementRange {
    /// The first position.
    pub from: u64,
    /// One past the last position.
    pub to: u64,
    /// The number of the try, from 1.
    pub tries: u32,
}

impl ElementRange {
    /// The number of elements; 0 if `to` is not larger than `from`.
    pub fn len(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The context in which an operation runs on one element.
///
/// It identifies the element and the try, and signals when the operation should stop. A
/// function with `#[operation]` takes it as its last parameter, `cx: &TaskContext`.
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation]
/// fn sum_up(numbers: &[u64], cx: &TaskContext) -> Result<u64> {
///     let mut sum = 0;
///     for chunk in numbers.chunks(1_000) {
///         // Long operations check from time to time whether their result is still needed.
///         if cx.is_cancelled() {
///             return Err(OperationError::fatal("cancelled"));
///         }
///         sum += chunk.iter().sum::<u64>();
///     }
///     Ok(sum)
/// }
///
/// // In tests of your operations, use a detached context.
/// assert_eq!(sum_up(&[1, 2, 3], &TaskContext::detached()), Ok(6));
/// ```
pub struct TaskContext {
    execution: Arc<Execution>,
    /// The batch offset of the element that runs. Relaxed: written by the thread that runs the
    /// element, and only a hint for a watchdog that reads it from another thread.
    offset: AtomicU32,
}

impl TaskContext {
    /// A context for the element at `offset` of the batch of `execution`.
    pub fn new(execution: Arc<Execution>, offset: u32) -> Self {
        Self { execution, offset: AtomicU32::new(offset) }
    }

    /// A context outside of any job, to call operations in tests.
    ///
    /// Its element has index 0 and is on its first try, and it is never cancelled; change that with
    /// [`on_try`](Self::on_try), [`at_index`](Self::at_index) and
    /// [`cancellable`](Self::cancellable).
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn label(word: &str, cx: &TaskContext) -> String {
    ///     format!("{} {word}", cx.index())
    /// }
    ///
    /// assert_eq!(label("zero", &TaskContext::detached()), "0 zero");
    /// ```
    pub fn detached() -> Self {
        Self::new(
            Arc::new(Execution {
                job: JobId(uuid::Uuid::nil()),
                stage: 0,
                worker: WorkerId(uuid::Uuid::nil()),
                ranges: RwLock::new(vec![ElementRange { from: 0, to: 1, tries: 1 }]),
                indexes: Vec::new(),
                cancelled: CancellationToken::new(),
            }),
            0,
        )
    }

    /// The same context on this try, from 1: to test what an operation does on a retry.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn fetch(id: u64, cx: &TaskContext) -> String {
    ///     // The last resort is slow, but always there.
    ///     let server = if cx.tries() < 3 { "mirror" } else { "origin" };
    ///     format!("{server}/{id}")
    /// }
    ///
    /// assert_eq!(fetch(7, &TaskContext::detached()), "mirror/7");
    /// assert_eq!(fetch(7, &TaskContext::detached().on_try(3)), "origin/7");
    /// ```
    #[must_use]
    pub fn on_try(self, tries: u32) -> Self {
        let from = self.position();
        let range = ElementRange { from, to: from.saturating_add(1), tries: tries.max(1) };
        self.changed(|execution| execution.set_ranges(vec![range]))
    }

    /// The same context for the element with this index, from 0, in the first stage.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// let cx = TaskContext::detached().at_index(41).on_try(2);
    /// assert_eq!((cx.index(), cx.position(), cx.tries()), (41, 41, 2));
    /// ```
    #[must_use]
    pub fn at_index(self, index: u64) -> Self {
        let range = ElementRange { from: index, to: index.saturating_add(1), tries: self.tries() };
        self.changed(|execution| {
            execution.set_ranges(vec![range]);
            execution.indexes.clear();
        })
    }

    /// The same context, and a function that cancels it: before the operation is called, or from
    /// another thread or task while it runs.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// async fn wait_for_ever(id: u64, cx: &TaskContext) -> Result<u64> {
    ///     cx.cancelled().await;
    ///     Err(OperationError::fatal(format!("{id} was cancelled")))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (cx, cancel) = TaskContext::detached().cancellable();
    /// assert!(!cx.is_cancelled());
    /// let (outcome, ()) = tokio::join!(wait_for_ever(7, &cx), async { cancel() });
    /// assert!(outcome.is_err() && cx.is_cancelled());
    /// # }
    /// ```
    pub fn cancellable(self) -> (Self, impl Fn() + Clone + Send + Sync + 'static) {
        let token = CancellationToken::new();
        let cancels = token.clone();
        (self.changed(|execution| execution.cancelled = token), move || cancels.cancel())
    }

    /// A context of its own for one element.
    fn changed(self, change: impl FnOnce(&mut Execution)) -> Self {
        let mut execution = Arc::unwrap_or_clone(self.execution);
        change(&mut execution);
        Self::new(Arc::new(execution), 0)
    }

    /// The job of this element: the same identity that [`Job::id`](crate::leader::Job::id) returns
    /// at the leader.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn job_of(_n: u64, cx: &TaskContext) -> String {
    ///     cx.job().to_string()
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let (job, results) = IndexedStream::from([7]).map(JobOf).start(&runtime)?;
    /// let jobs = results.collect().await?;
    /// assert_eq!(jobs, [(0, job.id().to_string())]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn job(&self) -> JobId {
        self.execution.job
    }

    /// The stage of the plan, from 0: the number that
    /// [`explain`](crate::plan::IndexedStream::explain) shows.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// assert_eq!(TaskContext::detached().stage(), 0);
    /// ```
    pub fn stage(&self) -> u32 {
        self.execution.stage
    }

    /// The worker that runs the operation, for logs.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn worker_of(_n: u64, cx: &TaskContext) -> String {
    ///     cx.worker().to_string()
    /// }
    ///
    /// // Outside of a job there is no worker: the identity is nil.
    /// let worker = worker_of(1, &TaskContext::detached());
    /// assert_eq!(worker, "00000000-0000-0000-0000-000000000000");
    /// ```
    pub fn worker(&self) -> WorkerId {
        self.execution.worker
    }

    /// The index of the element in the source, from 0: the same number that errors, events and
    /// results carry.
    ///
    /// Behind an exchange, elements have no source index. There it is the
    /// [`position`](Self::position) in the stage that reads the exchange: 2^40 for each partition
    /// before that of the element, and its number there. Errors and events show both numbers, and
    /// the key ([`Group`](crate::operation::Group)).
    ///
    /// Elements that were made from one source element, as after a `flat_map`, share its index. A
    /// monoid that combines partial results sees the stage position at which one of them begins,
    /// which is a source index if the program has one stage.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn letters(word: &str) -> Vec<char> {
    ///     word.chars().collect()
    /// }
    ///
    /// #[operation]
    /// fn index_of(_letter: char, cx: &TaskContext) -> u64 {
    ///     cx.index()
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let words = ["to", "be"].map(String::from);
    /// let indexes = IndexedStream::from(words).flat_map(Letters).map(IndexOf);
    /// assert_eq!(indexes.collect(&runtime).await?, [0, 0, 1, 1]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn index(&self) -> u64 {
        let indexes = &self.execution.indexes;
        indexes.get(self.offset() as usize).copied().unwrap_or_else(|| self.position())
    }

    /// The position of the element in the input of its stage, from 0.
    ///
    /// In the first stage it equals the [`index`](Self::index). In later stages, unlike the index,
    /// no two elements of the input share it. Elements that a `flat_map` makes within the stage
    /// have the position of the input element that they were made from.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// assert_eq!(TaskContext::detached().position(), 0);
    /// ```
    pub fn position(&self) -> u64 {
        self.element().0
    }

    /// The number of this try of the element, from 1: one more than the number of its retries.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn fetch(_id: u64, cx: &TaskContext) -> Result<u32> {
    ///     if cx.tries() < 3 {
    ///         return Err(OperationError::fatal("the server is busy").transient());
    ///     }
    ///     Ok(cx.tries())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let tries = IndexedStream::from([7]).map(Fetch).retries(2);
    /// assert_eq!(tries.collect(&runtime).await?, [3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn tries(&self) -> u32 {
        self.element().1
    }

    /// An idempotency key for side effects: the same for every try of this element, and for no
    /// other element of the stage's input.
    ///
    /// Store it together with the effect, and skip the effect if the key is already stored.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn send_invoice(number: u64, cx: &TaskContext) -> String {
    ///     // Many HTTP APIs take such a key as a header.
    ///     format!("POST /invoices/{number} Idempotency-Key: {}", cx.element_key())
    /// }
    ///
    /// let request = send_invoice(12, &TaskContext::detached());
    /// assert!(request.ends_with("00000000-0000-0000-0000-000000000000/0/0"));
    /// ```
    pub fn element_key(&self) -> ElementKey {
        ElementKey { job: self.job(), stage: self.stage(), position: self.position() }
    }

    /// Whether the result is not needed any more: the job was cancelled, the element has timed out,
    /// or the worker must stop.
    ///
    /// Blocking operations that run for seconds check it from time to time and return any error.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn search(#[state] limit: u64, target: u64, cx: &TaskContext) -> Result<Option<u64>> {
    ///     for n in 0..limit {
    ///         if n % 1_000_000 == 0 && cx.is_cancelled() {
    ///             return Err(OperationError::fatal("cancelled"));
    ///         }
    ///         if n * n == target {
    ///             return Ok(Some(n));
    ///         }
    ///     }
    ///     Ok(None)
    /// }
    ///
    /// assert_eq!(search(100, 81, &TaskContext::detached()), Ok(Some(9)));
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.execution.cancelled.is_cancelled()
    }

    /// Resolves when the result is not needed any more; see [`is_cancelled`](Self::is_cancelled).
    ///
    /// The future of an asynchronous operation is dropped at a timeout, or a moment after its job
    /// was cancelled. Await this to tidy up before that.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # async fn answer_of(_id: u64) -> u64 { 42 }
    /// #[operation]
    /// async fn ask(id: u64, cx: &TaskContext) -> Result<u64> {
    ///     tokio::select! {
    ///         answer = answer_of(id) => Ok(answer),
    ///         () = cx.cancelled() => {
    ///             // … cancel the request at the server.
    ///             Err(OperationError::fatal("cancelled"))
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// assert_eq!(ask(7, &TaskContext::detached()).await, Ok(42));
    /// # }
    /// ```
    pub async fn cancelled(&self) {
        self.execution.cancelled.cancelled().await;
    }

    /// The batch offset of the element that runs.
    #[doc(hidden)]
    pub fn offset(&self) -> u32 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Sets the batch offset of the element that runs next.
    #[doc(hidden)]
    #[inline]
    pub fn set_offset(&self, offset: u32) {
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// The part that all elements of the batch share.
    #[doc(hidden)]
    pub fn execution(&self) -> &Arc<Execution> {
        &self.execution
    }

    fn element(&self) -> (u64, u32) {
        let mut left = u64::from(self.offset());
        for range in self.execution.ranges().iter() {
            if left < range.len() {
                return (range.from + left, range.tries);
            }
            left -= range.len();
        }
        (left, 1)
    }
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskContext")
            .field("job", &self.job())
            .field("stage", &self.stage())
            .field("index", &self.index())
            .field("tries", &self.tries())
            .finish_non_exhaustive()
    }
}

/// An idempotency key for one element: job, stage and position.
///
/// It stays the same when an element is retried, or its batch is split. From
/// [`TaskContext::element_key`]; written as `job/stage/position`.
///
/// ```
/// # use phalanx::prelude::*;
/// let key = TaskContext::detached().element_key();
/// assert_eq!((key.stage, key.position), (0, 0));
/// assert_eq!(key.to_string(), "00000000-0000-0000-0000-000000000000/0/0");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct ElementKey {
    /// The job of the element.
    pub job: JobId,
    /// The stage of the plan, from 0.
    pub stage: u32,
    /// The position of the element in the input of that stage, from 0.
    pub position: u64,
}

impl fmt::Display for ElementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.job, self.stage, self.position)
    }
}
