//! The idle child processes of a worker.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use phalanx_core::id::WorkerId;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, SemaphorePermit};

use super::{child_process::ChildProcess, shared_child::SharedChild};
use crate::{WorkerOptions, lock::lock};

/// A child that has been idle for longer is ended.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often idle children are reaped.
const REAP_INTERVAL: Duration = Duration::from_secs(10);

/// After a failure to start a child, none is started for this long.
const UNABLE_FOR: Duration = Duration::from_secs(600);

/// Ends idle children for as long as the worker lives.
pub(crate) async fn reap_idle(children: Arc<ChildPool>) {
    loop {
        tokio::time::sleep(REAP_INTERVAL).await;
        let children = Arc::clone(&children);
        // Fails only when the runtime shuts down.
        let _ = tokio::task::spawn_blocking(move || children.reap_idle()).await;
    }
}

/// The child processes of a worker that are idle or shared. Each other one belongs to the slot thread
/// that waits for it, or to an asynchronous task that runs alone: at most twice as many as slots.
#[derive(Debug)]
pub(crate) struct ChildPool {
    worker: WorkerId,
    slots: usize,
    /// The stack of a slot thread, in bytes.
    stack: usize,
    /// Where children write what does not fit into memory.
    spills: PathBuf,
    idle: Mutex<Idle>,
    /// The child in which asynchronous tasks run side by side, if there is one. Locked while it is
    /// started, so that there is only one.
    shared: AsyncMutex<Option<Arc<SharedChild>>>,
    /// Taken by asynchronous tasks that run in children of their own.
    alone: Semaphore,
    /// When a child failed to start last.
    unable_since: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Idle {
    /// Each child, and the time since which it has been idle; the most recent is last.
    children: Vec<(ChildProcess, Instant)>,
    is_closed: bool,
}

impl ChildPool {
    pub(crate) fn new(worker: WorkerId, options: &WorkerOptions) -> Self {
        let WorkerOptions { slots, stack, .. } = *options;
        Self {
            worker,
            slots,
            stack,
            spills: options.spill_dir.clone(),
            idle: Mutex::default(),
            shared: AsyncMutex::default(),
            alone: Semaphore::new(slots),
            unable_since: Mutex::default(),
        }
    }

    /// Whether children can be started, as far as is known.
    pub(crate) fn is_able(&self) -> bool {
        lock(&self.unable_since).is_none_or(|since| since.elapsed() >= UNABLE_FOR)
    }

    /// No child can be started: from now on, this process runs isolated tasks itself.
    fn set_unable(&self, reason: &io::Error) {
        *lock(&self.unable_since) = Some(Instant::now());
        tracing::warn!(
            %reason,
            "cannot start child processes; running isolated tasks in this process, so one that ends \
             its process ends this worker"
        );
    }

    /// A child that has run a task before, if one is idle.
    pub(super) fn take_idle(&self) -> Option<ChildProcess> {
        self.idle().children.pop().map(|(child, _)| child)
    }

    /// A new child; `None` if none can be started.
    pub(super) fn start_child(&self) -> Option<ChildProcess> {
        let child = ChildProcess::start(self.worker, 1, self.stack, &self.spills);
        child.inspect_err(|error| self.set_unable(error)).ok()
    }

    /// The child in which asynchronous tasks run side by side; `None` if none can be started.
    pub(super) async fn shared(self: &Arc<Self>) -> Option<Arc<SharedChild>> {
        let mut shared = self.shared.lock().await;
        if shared.as_ref().is_none_or(|child| child.has_ended()) {
            *shared = self.start_shared().await;
        }
        shared.clone()
    }

    /// A new child for asynchronous tasks; `None` if none can be started.
    pub(super) async fn start_shared(self: &Arc<Self>) -> Option<Arc<SharedChild>> {
        let pool = Arc::clone(self);
        let start = move || {
            let child = ChildProcess::start(pool.worker, pool.slots, pool.stack, &pool.spills);
            child.and_then(SharedChild::new).inspect_err(|error| pool.set_unable(error)).ok()
        };
        // Fails only when the runtime shuts down.
        tokio::task::spawn_blocking(start).await.ok().flatten()
    }

    /// The turn of an asynchronous task that runs in a child of its own.
    pub(super) async fn alone(&self) -> Option<SemaphorePermit<'_>> {
        self.alone.acquire().await.ok()
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
        // Otherwise it is being started, and so in use.
        if let Ok(mut shared) = self.shared.try_lock() {
            shared.take_if(|child| Arc::strong_count(child) == 1);
        }
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
        *self.shared.blocking_lock() = None;
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        lock(&self.idle)
    }
}
