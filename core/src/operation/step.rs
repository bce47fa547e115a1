//! The trait that lets `map` take both blocking and asynchronous operations.

use super::{AsyncOperation, Data, Operation, RemoteExecute};

/// The mode of [`Step`] for an [`Operation`].
#[derive(Debug, Clone, Copy)]
pub enum Blocking {}

/// The mode of [`Step`] for an [`AsyncOperation`].
#[derive(Debug, Clone, Copy)]
pub enum Asynchronous {}

/// An operation that can be a step of a program: an [`Operation`] or an [`AsyncOperation`].
///
/// Implemented for both; never implement it yourself. `Mode` is inferred: it keeps the two
/// implementations apart. Name the trait to write functions that are generic over operations.
///
/// ```
/// # use phalanx::prelude::*;
/// use phalanx::operation::Step;
///
/// #[operation]
/// fn double(n: u64) -> u64 {
///     n * 2
/// }
///
/// fn twice<O, Mode>(numbers: IndexedStream<u64>, operation: O) -> IndexedStream<u64>
/// where
///     O: Step<Mode, Input = u64, Output = u64> + Copy,
/// {
///     numbers.map(operation).map(operation)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let program = twice(IndexedStream::from([1, 2]), Double);
/// assert_eq!(program.collect(&runtime).await?, [4, 8]);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an operation",
    label = "neither an `Operation` nor an `AsyncOperation`",
    note = "`#[operation]` on a function `fib_at` makes the operation `FibAt`: pass `FibAt`",
    note = "closures cannot be sent to workers: write a function with `#[operation]` instead"
)]
pub trait Step<Mode>: RemoteExecute {
    /// The type of the elements that it runs on.
    type Input: Data;
    /// The type of its results.
    type Output: Data;
}

#[diagnostic::do_not_recommend]
impl<O: Operation> Step<Blocking> for O {
    type Input = O::Input;
    type Output = O::Output;
}

#[diagnostic::do_not_recommend]
impl<O: AsyncOperation> Step<Asynchronous> for O {
    type Input = O::Input;
    type Output = O::Output;
}
