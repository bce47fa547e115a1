//! The window of blocks on their way to the broker.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most bytes of blocks of one worker that wait for their confirms, unless a task has more.
const WINDOW: usize = 16 << 20;
/// The bytes that one permit stands for.
const UNIT: usize = 1 << 10;

/// Bounds the blocks that a worker holds: a task that finds the window full keeps its slot.
#[derive(Debug)]
pub(super) struct BlockWindow(Arc<Semaphore>);

/// The part of the window that the blocks of a task take up, until it is dropped.
#[derive(Debug)]
pub(crate) struct WindowPermit {
    _permit: OwnedSemaphorePermit,
}

impl BlockWindow {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(WINDOW / UNIT)))
    }

    /// Waits until the window has room for this many bytes; a task that has more takes all of it.
    ///
    /// Cancel-safe, but the place in the queue is lost.
    pub(super) async fn enter(&self, bytes: usize) -> Option<WindowPermit> {
        let units = bytes.div_ceil(UNIT).clamp(1, WINDOW / UNIT) as u32;
        // The semaphore is never closed.
        let permit = Arc::clone(&self.0).acquire_many_owned(units).await.ok()?;
        Some(WindowPermit { _permit: permit })
    }
}
