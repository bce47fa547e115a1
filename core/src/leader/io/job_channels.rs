//! What the driver holds for a job: the channels to its reader and watchers, and its source.

use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::output::CreditedBlock;
use crate::{
    error::Error,
    leader::engine::{JobEvent, Progress},
    plan::Source,
};

/// What the driver holds for a job.
pub(super) struct JobChannels {
    pub(super) outputs: mpsc::UnboundedSender<Result<Option<CreditedBlock>, Error>>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) events: broadcast::Sender<JobEvent>,
    pub(super) source: SourcePlace,
}

/// Where the source of a job is.
pub(super) enum SourcePlace {
    Here(Source),
    /// Held only to be dropped with the job: the pull ends with it.
    Pulling(#[expect(dead_code, reason = "dropping it ends the pull")] AbortOnDropHandle<()>),
    Ended,
}

impl JobChannels {
    /// Ends the job for its reader and its watchers.
    pub(super) fn end(self, result: Result<(), Error>) {
        // Sending fails if the reader is gone.
        let _ = self.outputs.send(result.map(|()| None));
        self.progress.send_modify(|progress| progress.ended = true);
    }
}
