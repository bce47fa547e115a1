//! A directive: one step of a program and its settings.

use std::{num::NonZeroU32, time::Duration};

use bytes::Bytes;

use super::{Backoff, PlanError};
use crate::{
    broker::Pool,
    operation::RemoteExecute,
    registry::{DEFAULT_RETRIES, Registry, Sample, StepReference, Verb},
};

/// One step of a stage, with the settings that only the leader needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepPlan {
    /// The part that is sent to workers.
    pub(crate) reference: StepReference,
    /// How often an element is retried after transient errors and timeouts.
    pub(crate) retries: u32,
    /// How long the element waits before each of them.
    pub(crate) backoff: Backoff,
    /// Whether the step runs in asynchronous slots.
    pub(crate) is_async: bool,
    /// What happens to the job when an element fails permanently in this step.
    pub(crate) on_failure: OnFailure,
}

/// What happens to a job when one of its elements fails permanently.
///
/// Set with [`IndexedStream::on_failure`](crate::plan::IndexedStream::on_failure).
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation]
/// fn parse(text: &str) -> Result<u32> {
///     Ok(text.parse()?)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let texts = || IndexedStream::from(["1", "two", "3"].map(String::from)).map(Parse);
/// assert!(texts().on_failure(OnFailure::FailJob).collect(&runtime).await.is_err());
/// assert_eq!(texts().on_failure(OnFailure::Skip).collect(&runtime).await?, [1, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnFailure {
    /// The job ends with [`Error::Execute`](crate::Error::Execute). The default.
    #[default]
    FailJob,
    /// The element is left out of the results, and the job emits
    /// [`JobEvent::ElementSkipped`](crate::leader::JobEvent::ElementSkipped).
    Skip,
}

/// A step that is not part of a stage yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) step: StepPlan,
    pub(crate) pool: Pool,
    /// The number of elements in a task of its stage, if the program sets it.
    pub(crate) batch: Option<NonZeroU32>,
}

impl Directive {
    /// Looks up the operation in the registry, with the settings that it declares.
    pub(crate) fn new<O: RemoteExecute>(operation: &O, verb: Verb) -> Result<Self, PlanError> {
        let (reference, registered) = Registry::global()?.reference(operation, verb)?;
        let pool = match registered.pool() {
            Some(name) => pool(name, &reference.name)?,
            None => Pool::default(),
        };
        let step = StepPlan {
            reference,
            retries: registered.retries(),
            backoff: Backoff::declared(registered.backoff()),
            is_async: registered.is_async(),
            on_failure: OnFailure::default(),
        };
        Ok(Self { step, pool, batch: None })
    }

    /// A step that samples, in a pool of its neighbours.
    pub(crate) fn sample(sample: &Sample) -> Self {
        let mut directive = Self::without_operation(Verb::Sample);
        directive.step.reference.state = sample.state();
        directive
    }

    /// A step without an operation, in a pool of its neighbours.
    pub(crate) fn without_operation(verb: Verb) -> Self {
        let reference = StepReference {
            name: verb.name().to_owned(),
            fingerprint: 0,
            verb,
            timeout: None,
            state: Bytes::new(),
        };
        let step = StepPlan {
            reference,
            retries: DEFAULT_RETRIES,
            backoff: Backoff::default(),
            is_async: false,
            on_failure: OnFailure::default(),
        };
        Self { step, pool: Pool::default(), batch: None }
    }

    pub(crate) fn set_pool(&mut self, name: &str) -> Result<(), PlanError> {
        self.pool = pool(name, &self.step.reference.name)?;
        Ok(())
    }

    pub(crate) fn set_backoff(&mut self, from: Duration, to: Duration) -> Result<(), PlanError> {
        let operation = &self.step.reference.name;
        self.step.backoff = Backoff::new(from, to).ok_or_else(|| PlanError::Backoff {
            operation: operation.clone(),
            from,
            to,
        })?;
        Ok(())
    }

    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.step.reference.timeout = Some(timeout);
    }
}

fn pool(name: &str, operation: &str) -> Result<Pool, PlanError> {
    Pool::new(name).map_err(|source| PlanError::Pool { operation: operation.to_owned(), source })
}
