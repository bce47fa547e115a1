//! The memory and the disk for what a worker gathers.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use phalanx_core::wire::QueuedGather;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bytes that one permit stands for.
const UNIT: u64 = 64 << 10;
/// A task that gathers on disk has this part of the memory while it reads, and writes when one of
/// its partitions has that part.
const SPOOL_PART: u64 = 8;
const CHUNK_PART: u64 = 64;
/// The most bytes of a chunk.
const MAX_CHUNK: u64 = 4 << 20;
/// However little memory there is, a part of a partition may have this size: parts have half of it
/// on average.
const LEAST_LIMIT: u64 = 32 << 20;

/// Bounds the memory of all tasks that gather or have gathered, and the number of those that do not
/// run yet (rule 38). What is larger goes through files in a directory.
#[derive(Debug)]
pub(crate) struct GatherMemory {
    units: u32,
    memory: Arc<Semaphore>,
    /// One for each slot.
    ahead: Arc<Semaphore>,
    directory: PathBuf,
}

/// The memory of a task from when it begins to gather until it ends.
#[derive(Debug)]
pub(crate) struct GatherPermit {
    /// Held for its size alone.
    memory: OwnedSemaphorePermit,
    /// Whether its blocks go through files.
    spills: bool,
}

impl GatherMemory {
    /// This many bytes, this many tasks that do not run yet, and a directory for what is larger.
    pub(crate) fn new(bytes: u64, slots: usize, directory: PathBuf) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).clamp(1, 1 << 24);
        let [memory, ahead] =
            [units as usize, slots].map(|permits| Arc::new(Semaphore::new(permits)));
        Self { units, memory, ahead, directory }
    }

    /// Where files go.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// After how many bytes of a partition that goes to disk they are written.
    pub(super) fn chunk(&self) -> usize {
        (self.bytes() / CHUNK_PART).clamp(UNIT, MAX_CHUNK) as usize
    }

    /// The most bytes of rows that a task brings into memory together.
    pub(super) fn limit(&self) -> u64 {
        (self.bytes() / 2).max(LEAST_LIMIT)
    }

    /// Waits for the memory of a task, and for its turn. The turn lasts until the task runs.
    ///
    /// While its blocks are brought into order, a task needs up to twice their size. One that needs
    /// more than all of the memory gathers on disk.
    ///
    /// Cancel-safe, but the place in the queue is lost.
    pub(crate) async fn enter(
        &self,
        queued: &QueuedGather,
    ) -> Option<(GatherPermit, OwnedSemaphorePermit)> {
        let bytes: u64 = queued.partitions.iter().map(|it| it.bytes).fold(0, u64::saturating_add);
        let needs = bytes.saturating_mul(2);
        let spills = needs > self.bytes();
        // Neither semaphore is ever closed.
        let turn = Arc::clone(&self.ahead).acquire_owned().await.ok()?;
        let memory = self.acquire(if spills { self.bytes() / SPOOL_PART } else { needs }).await?;
        Some((GatherPermit { memory, spills }, turn))
    }

    /// Exchanges the memory of a task for that of its largest part, which has this many bytes, and
    /// of the list that is made from it.
    ///
    /// Cancel-safe, as [`enter`](Self::enter).
    pub(super) async fn exchange(&self, permit: GatherPermit, part: u64) -> Option<GatherPermit> {
        let GatherPermit { memory, spills } = permit;
        // Given back first: two tasks that wait for more and keep what they have would wait for
        // each other.
        drop(memory);
        let memory = self.acquire(part.saturating_mul(2)).await?;
        Some(GatherPermit { memory, spills })
    }

    fn bytes(&self) -> u64 {
        u64::from(self.units) * UNIT
    }

    async fn acquire(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = bytes.div_ceil(UNIT).clamp(1, self.units.into()) as u32;
        Arc::clone(&self.memory).acquire_many_owned(units).await.ok()
    }
}

impl GatherPermit {
    /// Whether the blocks of the task go through files.
    pub(super) fn spills(&self) -> bool {
        self.spills
    }

    /// All is gathered in memory: half of it is free again.
    pub(super) fn gathered(&mut self) {
        let half = self.memory.num_permits() / 2;
        drop(self.memory.split(half));
    }
}
