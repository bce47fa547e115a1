//! Commands from the handles of a leader to its driver.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};

use super::output::CreditedBlock;
use crate::{
    error::Error,
    id::JobId,
    leader::engine::{DeadLettering, JobEvent, Progress},
    plan::{Plan, Source},
};

/// A command from a handle to the driver.
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
