//! The channels of a job to its reader and watchers, and its sources.

use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::output::CreditedBlock;
use crate::{
    error::Error,
    leader::engine::{JobEvent, Progress},
    plan::Source,
    report::with_causes,
};

/// The I/O of one job.
pub(super) struct JobChannels {
    pub(super) outputs: mpsc::UnboundedSender<Result<Option<CreditedBlock>, Error>>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) events: broadcast::Sender<JobEvent>,
    pub(super) sources: Vec<SourcePlace>,
}

/// The place of a source of a job.
pub(super) enum SourcePlace {
    Here(Source),
    /// Dropped with the job, which ends the pull.
    Pulling(#[expect(dead_code, reason = "dropping it ends the pull")] AbortOnDropHandle<()>),
    Ended,
}

impl JobChannels {
    /// Ends the job for its watchers and its reader: who has read all results finds the final
    /// progress.
    pub(super) fn end(self, progress: Progress, result: Result<(), Error>) {
        self.progress.send_replace(progress);
        // Sending fails if the reader is gone.
        let _ = self.outputs.send(result.map(|()| None));
    }

    /// Ends the job as it stands, because its leader cannot go on.
    pub(super) fn abandon(self, error: Error) {
        let progress = Progress { ended: true, ..self.progress.borrow().clone() };
        // Sending fails if the job has no watchers.
        let _ = self.events.send(JobEvent::Ended { error: Some(with_causes(&error)) });
        self.end(progress, Err(error));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::Relaxed},
        },
        task::{Context, Poll, Wake},
    };

    use super::*;

    /// Looks at the progress at the moment when the reader is woken.
    struct Watching {
        progress: watch::Receiver<Progress>,
        saw_the_end: AtomicBool,
    }

    impl Wake for Watching {
        fn wake(self: Arc<Self>) {
            self.saw_the_end.store(self.progress.borrow().ended, Relaxed);
        }
    }

    #[test]
    fn a_reader_that_sees_the_end_finds_the_final_progress() {
        let (outputs, mut reader) = mpsc::unbounded_channel();
        let (progress, watching) = watch::channel(Progress::default());
        let (events, _) = broadcast::channel(1);
        let channels = JobChannels { outputs, progress, events, sources: Vec::new() };
        let watching =
            Arc::new(Watching { progress: watching, saw_the_end: AtomicBool::new(false) });
        let waker = Arc::clone(&watching).into();
        assert!(matches!(reader.poll_recv(&mut Context::from_waker(&waker)), Poll::Pending));
        channels.end(Progress { ended: true, ..Progress::default() }, Ok(()));
        assert!(watching.saw_the_end.load(Relaxed));
    }
}
