//! What lies between the engine and the typed ends of a plan.

use tokio::sync::mpsc;

use super::{handle::Job, outputs::OutputBlock};
use crate::error::Error;

/// A job that runs.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) job: Job,
    pub(crate) outputs: OutputReceiver,
}

/// Outputs of a job, as they come. What waits here is bounded by the job's byte credit.
#[derive(Debug)]
pub(crate) struct OutputReceiver {
    pub(super) receiver: mpsc::UnboundedReceiver<Result<OutputBlock, Error>>,
    /// Keeps the job alive while somebody reads.
    pub(super) _job: Job,
}

impl OutputReceiver {
    /// The next outputs; an error is the last item, `None` the end. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> Option<Result<OutputBlock, Error>> {
        self.receiver.recv().await
    }
}
