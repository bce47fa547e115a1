//! What an operation can know and do while it runs.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

use crate::id::{JobId, WorkerId};

/// What all elements of one execution share; made by the worker.
#[derive(Debug)]
pub struct Execution {
    /// The job that the task belongs to.
    pub job: JobId,
    /// The stage of the plan, from 0.
    pub stage: u32,
    /// Who runs it.
    pub worker: WorkerId,
    /// The positions of the elements and their tries, in batch order.
    pub ranges: Vec<ElementRange>,
    /// The source index of each element, in batch order; empty if each index equals the position.
    pub indexes: Vec<u64>,
    /// Fires when the job is cancelled, the element timed out or the worker must stop.
    pub cancelled: CancellationToken,
}

/// Elements `from..to` of a stage's input, on their `tries`-th try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ElementRange {
    /// The first position.
    pub from: u64,
    /// One past the last position.
    pub to: u64,
    /// The try that this is, from 1.
    pub tries: u32,
}

impl ElementRange {
    /// How many elements it names.
    pub fn len(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What an operation can know and do while it runs.
///
/// Long operations look at [`is_cancelled`](Self::is_cancelled) now and then, asynchronous ones
/// await [`cancelled`](Self::cancelled), and side effects that must not happen twice carry
/// [`element_key`](Self::element_key).
pub struct TaskContext {
    execution: Arc<Execution>,
    /// The offset, in the batch, of the element that runs: one relaxed store per element.
    offset: AtomicU32,
}

impl TaskContext {
    /// A context for the element at `offset` of the batch of `execution`.
    pub fn new(execution: Arc<Execution>, offset: u32) -> Self {
        Self { execution, offset: AtomicU32::new(offset) }
    }

    /// A context outside any job, for calling operations in tests.
    pub fn detached() -> Self {
        Self::new(
            Arc::new(Execution {
                job: JobId(uuid::Uuid::nil()),
                stage: 0,
                worker: WorkerId(uuid::Uuid::nil()),
                ranges: vec![ElementRange { from: 0, to: 1, tries: 1 }],
                indexes: Vec::new(),
                cancelled: CancellationToken::new(),
            }),
            0,
        )
    }

    /// The job that this element belongs to.
    pub fn job(&self) -> JobId {
        self.execution.job
    }

    /// The stage of the plan, from 0.
    pub fn stage(&self) -> u32 {
        self.execution.stage
    }

    /// The worker that runs it.
    pub fn worker(&self) -> WorkerId {
        self.execution.worker
    }

    /// The index of the element in the source, from 0: the number that errors, events and results
    /// show. Elements that stem from one source element, as after a `flat_map`, share it.
    pub fn index(&self) -> u64 {
        let indexes = &self.execution.indexes;
        indexes.get(self.offset() as usize).copied().unwrap_or_else(|| self.position())
    }

    /// The position of the element in the input of its stage, from 0: unlike the
    /// [`index`](Self::index), no two elements of a stage share it.
    pub fn position(&self) -> u64 {
        self.element().0
    }

    /// Which try of this element this is, from 1.
    pub fn tries(&self) -> u32 {
        self.element().1
    }

    /// An idempotency key for side effects: the same for each try of this element, and for no other.
    pub fn element_key(&self) -> ElementKey {
        ElementKey { job: self.job(), stage: self.stage(), position: self.position() }
    }

    /// Whether nobody waits for this element any more.
    pub fn is_cancelled(&self) -> bool {
        self.execution.cancelled.is_cancelled()
    }

    /// Resolves when nobody waits for this element any more.
    pub async fn cancelled(&self) {
        self.execution.cancelled.cancelled().await;
    }

    /// The offset, in the batch, of the element that runs.
    #[doc(hidden)]
    pub fn offset(&self) -> u32 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Tells which element runs from now on.
    #[doc(hidden)]
    #[inline]
    pub fn set_offset(&self, offset: u32) {
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// What all elements of this execution share.
    #[doc(hidden)]
    pub fn execution(&self) -> &Arc<Execution> {
        &self.execution
    }

    fn element(&self) -> (u64, u32) {
        let mut left = u64::from(self.offset());
        for range in &self.execution.ranges {
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

/// An idempotency key: job, stage and position. Survives every split and retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct ElementKey {
    /// The job.
    pub job: JobId,
    /// The stage of its plan.
    pub stage: u32,
    /// The position of the element in the input of that stage, from 0.
    pub position: u64,
}

impl fmt::Display for ElementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.job, self.stage, self.position)
    }
}
