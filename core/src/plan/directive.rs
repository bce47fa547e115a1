//! One node of a program.

use std::time::Duration;

use super::PlanError;
use crate::{
    broker::Pool,
    operation::RemoteExecute,
    registry::{Registry, StepReference, Verb},
};

/// One step, and what the leader knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepPlan {
    /// What travels.
    pub reference: StepReference,
    /// Retries of one element after transient errors and timeouts.
    pub retries: u32,
    /// Whether it runs in asynchronous slots.
    pub is_async: bool,
    /// What a failed element does to its job.
    pub on_failure: OnFailure,
}

/// What an element that failed for good does to its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnFailure {
    /// The job ends with an error.
    #[default]
    FailJob,
    /// The element is left out, and an event says so.
    Skip,
}

/// A step that has not found its stage yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) step: StepPlan,
    pub(crate) pool: Pool,
}

impl Directive {
    /// Looks the operation up.
    pub(crate) fn new<O: RemoteExecute>(operation: &O, verb: Verb) -> Result<Self, PlanError> {
        let (reference, registered) = Registry::global()?.reference(operation, verb)?;
        let pool = match registered.pool() {
            Some(name) => pool(name, &reference.name)?,
            None => Pool::default(),
        };
        let step = StepPlan {
            reference,
            retries: registered.retries(),
            is_async: registered.is_async(),
            on_failure: OnFailure::default(),
        };
        Ok(Self { step, pool })
    }

    pub(crate) fn set_pool(&mut self, name: &str) -> Result<(), PlanError> {
        self.pool = pool(name, &self.step.reference.name)?;
        Ok(())
    }

    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.step.reference.timeout = Some(timeout);
    }
}

fn pool(name: &str, operation: &str) -> Result<Pool, PlanError> {
    Pool::new(name).map_err(|source| PlanError::Pool { operation: operation.to_owned(), source })
}

/// The word in a program that makes this step.
pub(crate) fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Map => "map",
        Verb::TryMap => "try_map",
        Verb::Filter => "filter",
        Verb::FlatMap => "flat_map",
        Verb::Fold => "fold",
        Verb::Reduce => "reduce",
    }
}
