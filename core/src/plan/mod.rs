//! Programs as inspectable data, before anything runs.

use bytes::Bytes;

use crate::{broker::Pool, registry::StepReference};

/// A program, cut into stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In order; at least one, perhaps without steps.
    pub stages: Vec<Stage>,
    /// What becomes of the last stage's outputs.
    pub end: End,
}

/// A maximal chain of directives that needs no data exchange; runs as one fused pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Whose workers run it.
    pub pool: Pool,
    /// In order. A `Fold` or `Reduce` is the last one of the last stage.
    pub steps: Vec<StepPlan>,
    /// Fixed batch size.
    pub batch: Option<u32>,
}

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

/// What becomes of the last stage's outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// They go to who reads the stream.
    Stream {
        /// In input order rather than as completed.
        ordered: bool,
        /// No more than this many.
        take: Option<u64>,
    },
    /// The last step is a `Fold` or `Reduce`: one value, or none where there was no input.
    Fold {
        /// The value over nothing; `None` for `Reduce`.
        empty: Option<Bytes>,
        /// Leaves of 1,024 elements, never cut, and a tree of fixed shape.
        deterministic: bool,
    },
    /// How many outputs there are, as a `u64`.
    Count,
}

/// A program that cannot be run as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The registry refused an operation.
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
}

/// Default of [`StepPlan::retries`].
pub const DEFAULT_RETRIES: u32 = 3;
