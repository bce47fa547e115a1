//! The channels of a job to its reader and watchers, and its source.

use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::output::CreditedBlock;
use crate::{
    error::Error,
    leader::engine::{JobEvent, Progress},
    plan::Source,
};

/// The I/O of one job.
pub(super) struct JobChannels {
    pub(super) outputs: mpsc::UnboundedSender<Result<Option<CreditedBlock>, Error>>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) events: broadcast::Sender<JobEvent>,
    pub(super) source: SourcePlace,
}

/// The place of the source of a job.
pub(super) enum SourcePlace {
    Here(Source),
    /// Dropped with the job, which ends the pull.
    Pulling(#[expect(dead_code, reason = "dropping it ends the pull")] AbortOnDropHandle<()>),
    Ended,
}

impl JobChannels {
    /// Ends the job for its reader and its watchers.
    pub(super) fn end(self, progress: Progress, result: Result<(), Error>) {
        // Sending fails if the reader is gone.
        let _ = self.outputs.send(result.map(|()| None));
        self.progress.send_replace(progress);
    }
}
