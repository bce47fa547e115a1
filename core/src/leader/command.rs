//! What handles say to the driver.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};

use super::{
    event::{JobEvent, Progress},
    outputs::OutputBlock,
};
use crate::{
    error::Error,
    id::JobId,
    plan::{Plan, Source},
};

/// What handles say to the driver.
pub(super) enum Command {
    Start {
        job: JobId,
        plan: Arc<Plan>,
        source: Source,
        outputs: mpsc::UnboundedSender<Result<Option<OutputBlock>, Error>>,
        progress: watch::Sender<Progress>,
        events: broadcast::Sender<JobEvent>,
        /// Whether letters are written about elements that fail for good: a replay keeps the one
        /// that it came of.
        writes_letters: bool,
    },
    Cancel {
        job: JobId,
    },
    Close,
}
