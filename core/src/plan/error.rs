//! Mistakes in programs.

use crate::{broker::PoolNameError, registry::RegistryError};

/// A mistake in a program, found before anything runs.
///
/// The methods of [`IndexedStream`](crate::plan::IndexedStream) keep the first mistake; the end of
/// the program returns it as [`Error::Plan`](crate::Error::Plan).
///
/// ```
/// # use phalanx::prelude::*;
/// use phalanx::PlanError;
///
/// let mistake = IndexedStream::from([1, 2, 3]).retries(5).explain().unwrap_err();
/// assert!(matches!(mistake, PlanError::NoStep { setting: "retries" }));
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The registry rejected an operation.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The name of a pool is invalid.
    #[error("the pool of operation `{operation}` has an invalid name: {source}")]
    Pool {
        /// The name of the operation.
        operation: String,
        /// The rule that the name of the pool breaks.
        #[source]
        source: PoolNameError,
    },
    /// A setting that applies to the previous step, and there is no previous step.
    #[error("`{setting}` applies to the previous step, and there is none; put it after a `map`")]
    NoStep {
        /// The method that was called.
        setting: &'static str,
    },
    /// A directive that cannot follow `take`.
    #[error(
        "`{directive}` cannot follow a `take` that comes after other directives; put the `take` \
         last, or directly after the source"
    )]
    AfterTake {
        /// The method that was called.
        directive: &'static str,
    },
    /// The longest back-off of a step is shorter than the first one.
    #[error(
        "the back-off of operation `{operation}` begins at {from:?} and must not exceed {to:?}; \
         put the shorter duration first"
    )]
    Backoff {
        /// The name of the operation.
        operation: String,
        /// The first back-off.
        from: std::time::Duration,
        /// The longest back-off.
        to: std::time::Duration,
    },
    /// `batch(0)`.
    #[error("a batch of 0 elements is empty; use at least 1")]
    EmptyBatch,
    /// A fold of fixed shape over the outputs of more than one input.
    #[error(
        "a `deterministic` fold cannot follow a `{directive}`: the shape of its tree would depend on \
         how the elements of several inputs meet; chain the inputs in one iterator instead"
    )]
    Deterministic {
        /// The directive before the fold.
        directive: &'static str,
    },
    /// An exchange after an input that never ends.
    #[error(
        "`{directive}` needs the whole input, and the input never ends; put a `take` directly after \
         the source"
    )]
    Endless {
        /// The directive.
        directive: &'static str,
    },
    /// An impossible number of partitions.
    #[error("`partitions({count})`: an exchange has 1 to {limit} partitions")]
    Partitions {
        /// The number that was asked for.
        count: u32,
        /// The most partitions.
        limit: u32,
    },
    /// `partitions` without an exchange.
    #[error(
        "`partitions` applies to the exchange just before, and there is none; put it directly after \
         `reduce_by_key`, `group_by_key` or the like"
    )]
    NoExchange,
    /// Too many exchanges in one program.
    #[error("a program has at most {limit} exchanges; run it in several parts")]
    TooManyExchanges {
        /// The most exchanges.
        limit: usize,
    },
    /// A union of too many streams.
    #[error(
        "a program has at most {limit} inputs; chain some of them in one iterator instead of `union`"
    )]
    TooManyBranches {
        /// The most inputs.
        limit: usize,
    },
    /// A directive that numbers elements, after a union.
    #[error(
        "`{directive}` numbers the elements of one input, and there are several; chain them in one \
         iterator instead of `union`, or number the elements of each before it"
    )]
    SeveralInputs {
        /// The directive.
        directive: &'static str,
    },
    /// A directive by key just after one that gives a part of each pair.
    #[error(
        "`{directive}` reads the keys of pairs that `{after}` gives, and workers cannot find them \
         there; add a `map` between the two, with an operation that returns its input"
    )]
    UnknownKey {
        /// The directive.
        directive: &'static str,
        /// The directive before it.
        after: &'static str,
    },
    /// `sample` of a fraction that is none.
    #[error("`sample({fraction}, …)`: a fraction is a number between 0 and 1")]
    Fraction {
        /// The fraction that was asked for, as text.
        fraction: String,
    },
    /// The empty value of a monoid does not serialize.
    #[error("the empty value of monoid `{operation}` does not serialize: {reason}")]
    Empty {
        /// The type of the monoid.
        operation: String,
        /// The message of the encoder.
        reason: String,
    },
}

crate::__debug_as_report!(PlanError);
