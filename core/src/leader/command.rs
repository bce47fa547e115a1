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
    },
    Cancel {
        job: JobId,
    },
    Close,
}
