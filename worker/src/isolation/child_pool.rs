//! The idle child processes of a worker.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use phalanx_core::id::WorkerId;

use super::child_process::ChildProcess;
use crate::lock::lock;

/// A child that has been idle for longer is ended.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often idle children are reaped.
const REAP_INTERVAL: Duration = Duration::from_secs(10);

/// Ends idle children for as long as the worker lives.
pub(crate) async fn reap_idle(children: Arc<ChildPool>) {
    loop {
        tokio::time::sleep(REAP_INTERVAL).await;
        let children = Arc::clone(&children);
        // Fails only when the runtime shuts down.
        let _ = tokio::task::spawn_blocking(move || children.reap_idle()).await;
    }
}

/// The idle child processes of a worker. Each busy one belongs to the slot thread that waits for
/// it, so there are at most as many children as slots.
#[derive(Debug)]
pub(crate) struct ChildPool {
    worker: WorkerId,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    /// Each child, and the time since which it has been idle; the most recent is last.
    children: Vec<(ChildProcess, Instant)>,
    is_closed: bool,
}

impl ChildPool {
    pub(crate) fn new(worker: WorkerId) -> Self {
        Self { worker, idle: Mutex::default() }
    }

    /// A child that has run a task before, if one is idle.
    pub(super) fn take_idle(&self) -> Option<ChildProcess> {
        self.idle().children.pop().map(|(child, _)| child)
    }

    /// A new child.
    ///
    /// # Errors
    /// See [`ChildProcess::start`].
    pub(super) fn start_child(&self) -> io::Result<ChildProcess> {
        ChildProcess::start(self.worker)
    }

    /// Keeps a child that has settled its task, for the next task.
    pub(super) fn put_idle(&self, child: ChildProcess) {
        let mut idle = self.idle();
        if idle.is_closed {
            // Ending the child takes time: not under the lock.
            drop(idle);
            return drop(child);
        }
        idle.children.push((child, Instant::now()));
    }

    fn reap_idle(&self) {
        let mut idle = self.idle();
        let fresh = idle.children.iter().position(|(_, since)| since.elapsed() < IDLE_TIMEOUT);
        let stale = fresh.unwrap_or(idle.children.len());
        let ended: Vec<_> = idle.children.drain(..stale).collect();
        drop(idle);
        drop(ended);
    }

    /// Ends all idle children, and from now on each child that becomes idle.
    pub(crate) fn end_all(&self) {
        let mut idle = self.idle();
        idle.is_closed = true;
        let ended = std::mem::take(&mut idle.children);
        drop(idle);
        drop(ended);
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        lock(&self.idle)
    }
}
