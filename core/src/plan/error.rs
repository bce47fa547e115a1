//! Programs that cannot be run.

use crate::{broker::PoolNameError, registry::RegistryError};

/// A program that cannot be run as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The registry refused an operation.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// An operation asks for a pool that cannot exist.
    #[error("operation `{operation}` asks for an impossible pool")]
    Pool {
        /// The operation.
        operation: String,
        /// What is wrong with the name.
        #[source]
        source: PoolNameError,
    },
    /// A setting for the step before it, where there is none.
    #[error("`{setting}` sets up the step before it, and there is none; put it behind a `map`")]
    NoStep {
        /// The setting.
        setting: &'static str,
    },
    /// A directive that cannot follow `take`.
    #[error(
        "`{directive}` cannot follow a `take` that stands behind other directives; \
         put the `take` last, or right behind the source"
    )]
    BehindTake {
        /// The directive.
        directive: &'static str,
    },
    /// `batch(0)`.
    #[error("a batch of 0 elements holds nothing; use at least 1")]
    EmptyBatch,
    /// The value of a fold over nothing does not serialize.
    #[error("the empty value of monoid `{operation}` does not serialize: {reason}")]
    Empty {
        /// The monoid.
        operation: String,
        /// What the encoder said.
        reason: String,
    },
}
