//! The traits that make a type an operation.

use std::future::Future;

use serde::{Deserialize, Serialize};

use super::{Data, Result, TaskContext};

/// Marks a type that workers can find by name.
///
/// Write `#[derive(RemoteExecute)]`, never `impl RemoteExecute`: the derive also places the entry
/// in the registry by which a worker finds the operation.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not registered for remote execution",
    label = "missing `#[derive(RemoteExecute)]`",
    note = "add `#[derive(Serialize, Deserialize, RemoteExecute)]` to the type"
)]
pub trait RemoteExecute: Serialize + for<'de> Deserialize<'de> + Send + Sync + 'static {}

/// A blocking operation: one input in, one output out, on a slot thread of a worker.
///
/// ```
/// # use phalanx_core as phalanx;
/// use phalanx_core::operation::{Operation, Result, TaskContext};
/// use phalanx_core::RemoteExecute;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, RemoteExecute)]
/// # #[remote(crate = phalanx_core)]
/// struct MultiplyBy(i64);
///
/// impl Operation for MultiplyBy {
///     type Input = i64;
///     type Output = i64;
///     fn execute(&self, input: i64, _cx: &TaskContext) -> Result<i64> {
///         Ok(self.0 * input)
///     }
/// }
/// ```
pub trait Operation: RemoteExecute {
    /// What it takes.
    type Input: Data;
    /// What it gives.
    type Output: Data;

    /// Runs on one input.
    ///
    /// # Errors
    /// Whatever the operation meets; `?` on any error makes it fatal,
    /// [`OperationError::transient`](super::OperationError::transient) marks it worth a retry.
    fn execute(&self, input: Self::Input, cx: &TaskContext) -> Result<Self::Output>;

    /// Runs on an input that is kept, as `filter` needs it.
    ///
    /// The default clones. Override it, without the `where` clause, where a look is enough;
    /// `#[operation]` does so for functions that take a reference.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    fn execute_ref(&self, input: &Self::Input, cx: &TaskContext) -> Result<Self::Output>
    where
        Self::Input: Clone,
    {
        self.execute(input.clone(), cx)
    }
}

/// An operation that waits more than it computes: many run at once on one worker.
pub trait AsyncOperation: RemoteExecute {
    /// What it takes.
    type Input: Data;
    /// What it gives.
    type Output: Data;

    /// Runs on one input. The future is dropped when its element times out, or a moment after its
    /// job was cancelled: what must be tidied up by then awaits [`TaskContext::cancelled`].
    ///
    /// # Errors
    /// As [`Operation::execute`].
    fn execute(
        &self,
        input: Self::Input,
        cx: &TaskContext,
    ) -> impl Future<Output = Result<Self::Output>> + Send;
}
