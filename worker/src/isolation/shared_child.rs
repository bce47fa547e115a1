//! A child process that runs asynchronous tasks side by side, from the parent's side.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use tokio::sync::mpsc;

use super::{
    child_process::{ChildProcess, ChildWriter},
    frame::{Frame, RunNumber},
};
use crate::lock::lock;

/// A child process that runs asynchronous tasks side by side. It is killed soon after this is
/// dropped.
#[derive(Debug)]
pub(super) struct SharedChild {
    writer: Arc<Mutex<ChildWriter>>,
    /// Where the frames of each run go; `None` once the child has ended.
    runs: Mutex<Option<HashMap<RunNumber, mpsc::UnboundedSender<Frame>>>>,
    /// The number of the next run. Relaxed: only unique.
    next: AtomicU32,
    /// How the child ended.
    status: OnceLock<String>,
}

/// One run in a shared child. Its frames are those of one task: one for each chunk, and the reply.
pub(super) struct SharedRun {
    child: Arc<SharedChild>,
    number: RunNumber,
    frames: mpsc::UnboundedReceiver<Frame>,
}

impl SharedChild {
    /// Takes over a new child, and starts the thread that reads its frames.
    ///
    /// # Errors
    /// If the operating system creates no thread.
    pub(super) fn new(process: ChildProcess) -> io::Result<Arc<Self>> {
        let writer = process.writer()?;
        let child = Arc::new(Self {
            writer: Arc::new(Mutex::new(writer)),
            runs: Mutex::new(Some(HashMap::new())),
            next: AtomicU32::new(1),
            status: OnceLock::new(),
        });
        let reads = Arc::downgrade(&child);
        let name = "phalanx-shared-child".to_owned();
        thread::Builder::new().name(name).spawn(move || read(process, &reads))?;
        Ok(child)
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.runs).is_none()
    }

    /// A new run; `None` if the child has ended.
    pub(super) fn run(self: &Arc<Self>) -> Option<SharedRun> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, frames) = mpsc::unbounded_channel();
        lock(&self.runs).as_mut()?.insert(number, sender);
        Some(SharedRun { child: Arc::clone(self), number, frames })
    }

    fn status(&self) -> String {
        self.status.get().cloned().unwrap_or_else(|| "closed its connection".to_owned())
    }
}

impl SharedRun {
    pub(super) fn number(&self) -> RunNumber {
        self.number
    }

    /// Sends a frame. If the child is gone, [`next`](Self::next) says so.
    pub(super) async fn send(&self, frame: Frame) {
        // This one is made already.
        let _ = self.send_all(std::iter::once(Ok(frame))).await;
    }

    /// As [`send`](Self::send), frames one after the other.
    ///
    /// # Errors
    /// If a frame cannot be made.
    pub(super) async fn send_all(
        &self,
        mut frames: impl Iterator<Item = io::Result<Frame>> + Send + 'static,
    ) -> io::Result<()> {
        let writer = Arc::clone(&self.child.writer);
        let send = move || {
            frames.try_for_each(|frame| {
                let frame = frame?;
                let _ = lock(&writer).send(&frame);
                Ok(())
            })
        };
        // Fails only when the runtime shuts down.
        tokio::task::spawn_blocking(send).await.unwrap_or(Ok(()))
    }

    /// The next frame of this run, or how the child ended.
    ///
    /// Cancel-safe: a frame leaves the channel only in the poll that returns it.
    pub(super) async fn next(&mut self) -> Result<Frame, String> {
        self.frames.recv().await.ok_or_else(|| self.child.status())
    }
}

impl Drop for SharedRun {
    fn drop(&mut self) {
        if let Some(runs) = lock(&self.child.runs).as_mut() {
            runs.remove(&self.number);
        }
    }
}

/// Passes the frames of a child on until it ends, or nobody uses it any more.
fn read(mut process: ChildProcess, child: &Weak<SharedChild>) {
    loop {
        let next = process.receive();
        let Some(child) = child.upgrade() else { return };
        match next {
            Ok(None) => {}
            Ok(Some(frame)) => {
                let run = frame.run();
                if let Some(sender) = lock(&child.runs).as_ref().and_then(|runs| runs.get(&run)) {
                    // Fails if the run was given up.
                    let _ = sender.send(frame);
                }
            }
            Err(_) => {
                let _ = child.status.set(process.into_status());
                // Ends the channels, after the status that they report is known.
                *lock(&child.runs) = None;
                return;
            }
        }
    }
}
