//! The value of an element that failed under `try_map`.

use serde::{Deserialize, Serialize};

use super::OperationError;
use crate::id::WorkerId;

/// The failure of an element, as a value of [`try_map`](crate::plan::IndexedStream::try_map): what
/// failed, and the error.
///
/// It is a [`std::error::Error`], so that `?` works in functions that return a `Box<dyn Error>` or
/// an `anyhow::Error`. An operation can take it: `fn shown(outcome: Result<u32, Failure>)`.
///
/// ```
/// # use phalanx::prelude::*;
/// use phalanx::Failure;
///
/// #[operation(name = "parse")]
/// fn parse(text: &str) -> Result<u32> {
///     Ok(text.parse()?)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let texts = ["7", "seven"].map(String::from);
/// let parsed = IndexedStream::from(texts).try_map(Parse).collect(&runtime).await?;
/// let numbers: Result<Vec<u32>, Failure> = parsed.into_iter().collect();
/// let failure = numbers.unwrap_err();
/// assert_eq!((failure.operation.as_str(), failure.tries), ("parse", 1));
/// assert_eq!(failure.error.message(), "invalid digit found in string");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error(
    "operation `{operation}` failed (try {tries}{}): {error}",
    super::execute_error::on_worker(.worker)
)]
#[non_exhaustive]
pub struct Failure {
    /// The name of the operation that failed.
    pub operation: String,
    /// The number of tries of the element, at least 1.
    pub tries: u32,
    /// The worker that tried it last; `None` if that worker is not known.
    pub worker: Option<WorkerId>,
    /// The error that the operation returned, or the panic, timeout or crash that ended it.
    pub error: OperationError,
}

crate::__debug_as_report!(Failure);
