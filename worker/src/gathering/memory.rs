//! The memory for what a worker gathers.

use std::sync::Arc;

use phalanx_core::wire::QueuedGather;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bytes that one permit stands for.
const UNIT: u64 = 64 << 10;

/// Bounds the memory of all tasks that gather or have gathered, and the number of those that do not
/// run yet (rule 38).
#[derive(Debug)]
pub(crate) struct GatherMemory {
    units: u32,
    memory: Arc<Semaphore>,
    /// One for each slot.
    ahead: Arc<Semaphore>,
}

/// The memory of a task from when it begins to gather until it ends.
#[derive(Debug)]
pub(crate) struct GatherPermit {
    memory: OwnedSemaphorePermit,
}

impl GatherMemory {
    /// This many bytes, and this many tasks that do not run yet.
    pub(crate) fn new(bytes: u64, slots: usize) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).clamp(1, 1 << 24);
        let [memory, ahead] =
            [units as usize, slots].map(|permits| Arc::new(Semaphore::new(permits)));
        Self { units, memory, ahead }
    }

    /// Waits for the memory of a task, and for its turn. The turn lasts until the task runs.
    ///
    /// While its blocks are brought into order, a task needs up to twice their size. One that is
    /// larger than all of the memory gathers alone.
    ///
    /// Cancel-safe, but the place in the queue is lost.
    pub(crate) async fn enter(
        &self,
        queued: &QueuedGather,
    ) -> Option<(GatherPermit, OwnedSemaphorePermit)> {
        let bytes: u64 = queued.partitions.iter().map(|it| it.bytes).fold(0, u64::saturating_add);
        let units = bytes.saturating_mul(2).div_ceil(UNIT).clamp(1, self.units.into()) as u32;
        // Neither semaphore is ever closed.
        let turn = Arc::clone(&self.ahead).acquire_owned().await.ok()?;
        let memory = Arc::clone(&self.memory).acquire_many_owned(units).await.ok()?;
        Some((GatherPermit { memory }, turn))
    }
}

impl GatherPermit {
    /// All is gathered: half of the memory is free again.
    pub(crate) fn gathered(&mut self) {
        let half = self.memory.num_permits() / 2;
        drop(self.memory.split(half));
    }
}
