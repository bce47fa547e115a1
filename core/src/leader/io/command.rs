//! What handles say to the driver.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};

use super::output::CreditedBlock;
use crate::{
    error::Error,
    id::JobId,
    leader::engine::{JobEvent, Progress},
    plan::{Plan, Source},
};

/// What handles say to the driver.
pub(in crate::leader) enum Command {
    Start {
        job: JobId,
        plan: Arc<Plan>,
        source: Source,
        outputs: mpsc::UnboundedSender<Result<Option<CreditedBlock>, Error>>,
        progress: watch::Sender<Progress>,
        events: broadcast::Sender<JobEvent>,
        dead_lettering: DeadLettering,
    },
    Cancel {
        job: JobId,
    },
    Close,
}

/// Whether a job writes dead letters about elements that fail permanently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::leader) enum DeadLettering {
    On,
    /// For a replay, which keeps the letter that it came from.
    Off,
}
