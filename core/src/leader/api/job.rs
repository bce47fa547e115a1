//! A handle to a job that runs.

use std::{fmt, sync::Arc};

use tokio::sync::{broadcast, mpsc, watch};

use crate::{
    id::JobId,
    leader::{
        engine::{JobEvent, Progress},
        io::Command,
    },
};

/// A handle to a job that runs: to watch it, and to cancel it.
///
/// Clones are the same job. Dropping the last handle, together with the stream or future of its
/// results, cancels the job.
#[derive(Clone)]
pub struct Job {
    inner: Arc<Inner>,
}

struct Inner {
    id: JobId,
    commands: mpsc::UnboundedSender<Command>,
    progress: watch::Receiver<Progress>,
    events: broadcast::Sender<JobEvent>,
}

impl Job {
    pub(super) fn new(
        id: JobId,
        commands: mpsc::UnboundedSender<Command>,
        progress: watch::Receiver<Progress>,
        events: broadcast::Sender<JobEvent>,
    ) -> Self {
        Self { inner: Arc::new(Inner { id, commands, progress, events }) }
    }

    /// Its identity, which logs and errors name.
    pub fn id(&self) -> JobId {
        self.inner.id
    }

    /// How far it is, as it changes.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.inner.progress.clone()
    }

    /// What happens to it from now on.
    pub fn events(&self) -> JobEvents {
        JobEvents { receiver: self.inner.events.subscribe(), progress: self.progress() }
    }

    /// Cancels it: queued tasks are dropped, running operations are told, other jobs go on. Its
    /// results end in [`Error::Cancelled`](crate::Error::Cancelled). Nothing happens if it is over.
    pub fn cancel(&self) {
        self.inner.cancel();
    }
}

impl Inner {
    fn cancel(&self) {
        // A driver that is gone has no job to cancel.
        let _ = self.commands.send(Command::Cancel { job: self.id });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("id", &self.inner.id).finish_non_exhaustive()
    }
}

/// What happens to a job. Holds the last 256 events; who is slower misses the oldest.
#[derive(Debug)]
pub struct JobEvents {
    receiver: broadcast::Receiver<JobEvent>,
    progress: watch::Receiver<Progress>,
}

impl JobEvents {
    /// How many events are kept for a slow listener.
    pub(super) const KEPT: usize = 256;

    /// The next event; `None` when the job is over and all have been told. Cancel-safe.
    pub async fn next(&mut self) -> Option<JobEvent> {
        loop {
            match self.receiver.try_recv() {
                Ok(event) => return Some(event),
                Err(broadcast::error::TryRecvError::Lagged(_)) => continue,
                Err(broadcast::error::TryRecvError::Closed) => return None,
                Err(broadcast::error::TryRecvError::Empty) => {}
            }
            // The job's own handles keep the channel open: its end shows in the progress, which
            // changes after the last event was sent.
            if self.progress.borrow().ended {
                return self.receiver.try_recv().ok();
            }
            tokio::select! {
                event = self.receiver.recv() => match event {
                    Ok(event) => return Some(event),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                changed = self.progress.wait_for(|progress| progress.ended) => {
                    if changed.is_err() {
                        return self.receiver.try_recv().ok();
                    }
                }
            }
        }
    }
}
