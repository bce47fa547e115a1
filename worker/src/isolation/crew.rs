//! The child processes of a worker.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use phalanx_core::id::WorkerId;

use super::process::Process;

/// A child that had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(60);

/// How often is looked for them.
const LOOK: Duration = Duration::from_secs(10);

/// Ends the children that have nothing to do, for as long as the worker lives.
pub(crate) async fn end_idle(crew: Arc<Crew>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let crew = Arc::clone(&crew);
        // An error means that the runtime ends.
        let _ = tokio::task::spawn_blocking(move || crew.end_idle()).await;
    }
}

/// The child processes of a worker that have nothing to do. Others are with the slot threads that
/// wait for them: so there are as many as slots, at most.
#[derive(Debug)]
pub(crate) struct Crew {
    worker: WorkerId,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    /// Since when; the last one worked last.
    children: Vec<(Process, Instant)>,
    is_closed: bool,
}

impl Crew {
    pub(crate) fn new(worker: WorkerId) -> Self {
        Self { worker, idle: Mutex::default() }
    }

    /// A child that has worked before.
    pub(super) fn warm(&self) -> Option<Process> {
        self.idle().children.pop().map(|(child, _)| child)
    }

    /// A child that has not.
    ///
    /// # Errors
    /// See [`Process::start`].
    pub(super) fn fresh(&self) -> io::Result<Process> {
        Process::start(self.worker)
    }

    /// Takes a child back that is done.
    pub(super) fn take_back(&self, child: Process) {
        let mut idle = self.idle();
        if idle.is_closed {
            // Ending it is not done under the lock.
            drop(idle);
            return drop(child);
        }
        idle.children.push((child, Instant::now()));
    }

    /// Ends the children that had nothing to do for long.
    pub(crate) fn end_idle(&self) {
        let mut idle = self.idle();
        let stay = idle.children.iter().position(|(_, since)| since.elapsed() < IDLE);
        let stay = stay.unwrap_or(idle.children.len());
        let ended: Vec<_> = idle.children.drain(..stay).collect();
        drop(idle);
        drop(ended);
    }

    /// Ends all children, and those that come back.
    pub(crate) fn end_all(&self) {
        let mut idle = self.idle();
        idle.is_closed = true;
        let ended = std::mem::take(&mut idle.children);
        drop(idle);
        drop(ended);
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
