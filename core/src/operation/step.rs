//! One `map` for blocking and asynchronous operations.

use super::{AsyncOperation, Data, Operation, RemoteExecute};

/// The mode of an [`Operation`].
#[derive(Debug, Clone, Copy)]
pub enum Blocking {}

/// The mode of an [`AsyncOperation`].
#[derive(Debug, Clone, Copy)]
pub enum Asynchronous {}

/// What can be a step of a plan. `Mode` is inferred; it keeps the two implementations apart.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an operation",
    label = "neither an `Operation` nor an `AsyncOperation`",
    note = "a function becomes one by `#[operation]`: `fn fib_at` is then passed as the value `FibAt`",
    note = "closures cannot travel: only the name of an operation, its state and its input do"
)]
pub trait Step<Mode>: RemoteExecute {
    /// What it takes.
    type Input: Data;
    /// What it gives.
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
