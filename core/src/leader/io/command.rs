//! The commands of a program to the driver of its leader.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};

use super::output::CreditedBlock;
use crate::{
    error::Error,
    id::JobId,
    leader::engine::{DeadLettering, Ending, JobEvent, Progress},
    plan::{Plan, Source},
};

/// A command to the driver, from the handle of a runtime or a job.
pub(in crate::leader) enum Command {
    Start {
        job: JobId,
        plan: Arc<Plan>,
        sources: Vec<Source>,
        outputs: mpsc::UnboundedSender<Result<Option<CreditedBlock>, Error>>,
        progress: watch::Sender<Progress>,
        events: broadcast::Sender<JobEvent>,
        dead_lettering: DeadLettering,
    },
    Cancel {
        job: JobId,
    },
    Close(Ending),
}
