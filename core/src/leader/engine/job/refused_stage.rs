//! What is known of a stage that a worker has refused (rule 10).

use std::{collections::BTreeMap, time::Duration};

use crate::{id::WorkerId, registry::Refusal};

/// The most refusals of one stage that are kept, for the error.
const MAX_REFUSALS: usize = 64;
/// The most workers of which is kept whether they can run one stage.
const MAX_WORKERS: usize = 16_384;

/// A stage that a worker has refused, and of which no result has come since.
#[derive(Debug, Clone)]
pub(crate) struct RefusedStage {
    /// The healthy time of the first refusal.
    since: Duration,
    /// The last refusal of each worker.
    refusals: BTreeMap<WorkerId, Refusal>,
    /// The workers that have listed their operations since: whether all of the stage are among
    /// them.
    listed: BTreeMap<WorkerId, bool>,
}

impl RefusedStage {
    pub(crate) fn new(since: Duration) -> Self {
        Self { since, refusals: BTreeMap::new(), listed: BTreeMap::new() }
    }

    /// The healthy time of the first refusal.
    pub(crate) fn since(&self) -> Duration {
        self.since
    }

    pub(crate) fn refuse(&mut self, worker: WorkerId, refusal: Refusal) {
        if self.refusals.len() < MAX_REFUSALS || self.refusals.contains_key(&worker) {
            self.refusals.insert(worker, refusal);
        }
    }

    /// A worker has listed its operations: perhaps all of the stage.
    pub(crate) fn list(&mut self, worker: WorkerId, lists_all: bool) {
        if self.listed.len() < MAX_WORKERS || self.listed.contains_key(&worker) {
            self.listed.insert(worker, lists_all);
        }
    }

    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&WorkerId, &Refusal)> + Clone {
        self.refusals.iter()
    }

    /// Whether this worker cannot run the stage; `None` as long as it has not said what it can run.
    pub(crate) fn is_unable(&self, worker: WorkerId) -> Option<bool> {
        let lists_all = self.listed.get(&worker)?;
        // The operations are the same, and yet it cannot bind one of them.
        let refuses = match self.refusals.get(&worker) {
            None | Some(Refusal::UnknownOperation { .. } | Refusal::Fingerprint { .. }) => false,
            Some(_) => true,
        };
        Some(!lists_all || refuses)
    }
}
