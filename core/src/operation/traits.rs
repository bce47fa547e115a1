//! The traits that make a type an operation.

use std::future::Future;

use serde::{Deserialize, Serialize};

use super::{Data, Items, Result, TaskContext};

/// A type that workers can find by name. Implemented by `#[derive(RemoteExecute)]`.
///
/// Do not implement it by hand: the derive also registers the operation, so that workers find it. A
/// type with the derive implements exactly one of [`Operation`], [`AsyncOperation`] and
/// [`Monoid`](super::Monoid).
///
/// ```
/// # use phalanx::prelude::*;
/// use phalanx::registry::Registry;
///
/// #[derive(Serialize, Deserialize, RemoteExecute)]
/// #[remote(name = "geometry.scale", timeout = "30s")]
/// struct Scale {
///     factor: f64,
/// }
///
/// impl Operation for Scale {
///     type Input = f64;
///     type Output = f64;
///
///     fn execute(&self, length: f64, _cx: &TaskContext) -> Result<f64> {
///         Ok(length * self.factor)
///     }
/// }
///
/// let registry = Registry::global().unwrap();
/// assert!(registry.get("geometry.scale").is_some());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not registered for remote execution",
    label = "missing `#[derive(RemoteExecute)]`",
    note = "add `#[derive(Serialize, Deserialize, RemoteExecute)]` to the type"
)]
pub trait RemoteExecute: Serialize + for<'de> Deserialize<'de> + Send + Sync + 'static {}

/// A blocking operation: one input, one output, on a thread of a worker.
///
/// Most operations are written as functions with `#[operation]`; implement the trait for types that
/// are generic, or whose state is built elsewhere. `self` is the state of the operation, which is
/// sent along with every task: keep it small.
///
/// ```
/// # use phalanx::prelude::*;
/// #[derive(Serialize, Deserialize, RemoteExecute)]
/// struct MultiplyBy(i64);
///
/// impl Operation for MultiplyBy {
///     type Input = i64;
///     type Output = i64;
///
///     fn execute(&self, input: i64, _cx: &TaskContext) -> Result<i64> {
///         Ok(self.0 * input)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let products = IndexedStream::from([1, 2, 3]).map(MultiplyBy(7));
/// assert_eq!(products.collect(&runtime).await?, [7, 14, 21]);
/// # Ok(())
/// # }
/// ```
pub trait Operation: RemoteExecute {
    /// The type of the elements that it runs on.
    type Input: Data;
    /// The type of its results.
    type Output: Data;

    /// Runs the operation on one input.
    ///
    /// # Errors
    /// Any. `?` converts every error into a fatal [`OperationError`](super::OperationError);
    /// [`transient`](super::ResultExt::transient) marks it for a retry. Panics are caught and fail
    /// the element with [`ErrorKind::Panic`](super::ErrorKind::Panic).
    fn execute(&self, input: Self::Input, cx: &TaskContext) -> Result<Self::Output>;

    /// Runs the operation on an input that is still needed afterwards, for `filter`.
    ///
    /// The default clones the input. Override it, without the `where` clause, if a reference is
    /// enough; `#[operation]` does so for functions that take a reference.
    ///
    /// # Errors
    /// Any; like [`execute`](Self::execute).
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[derive(Serialize, Deserialize, RemoteExecute)]
    /// struct IsLong;
    ///
    /// impl Operation for IsLong {
    ///     type Input = String;
    ///     type Output = bool;
    ///
    ///     fn execute(&self, input: String, cx: &TaskContext) -> Result<bool> {
    ///         self.execute_ref(&input, cx)
    ///     }
    ///
    ///     fn execute_ref(&self, input: &String, _cx: &TaskContext) -> Result<bool> {
    ///         Ok(input.len() > 3)
    ///     }
    /// }
    ///
    /// assert_eq!(IsLong.execute_ref(&"long".to_owned(), &TaskContext::detached()), Ok(true));
    /// ```
    fn execute_ref(&self, input: &Self::Input, cx: &TaskContext) -> Result<Self::Output>
    where
        Self::Input: Clone,
    {
        self.execute(input.clone(), cx)
    }

    /// Runs the operation on one input and encodes the items of its output, for `flat_map` before
    /// an exchange. `#[operation]` overrides it for functions that return an iterator: no item is
    /// collected, and those that borrow are not copied.
    ///
    /// # Errors
    /// Any; like [`execute`](Self::execute).
    #[doc(hidden)]
    fn execute_items(
        &self,
        input: Self::Input,
        cx: &TaskContext,
        items: &mut Items<'_, <Self::Output as IntoIterator>::Item>,
    ) -> Result<()>
    where
        Self::Output: IntoIterator<Item: Data>,
    {
        for item in self.execute(input, cx)? {
            items.push(&item)?;
        }
        Ok(())
    }
}

/// An asynchronous operation, for work that waits more than it computes: a worker runs many of its
/// elements at once (256 by default).
///
/// An `async fn` with `#[operation]` becomes one.
///
/// ```
/// # use phalanx::prelude::*;
/// #[derive(Serialize, Deserialize, RemoteExecute)]
/// struct Wait {
///     milliseconds: u64,
/// }
///
/// impl AsyncOperation for Wait {
///     type Input = String;
///     type Output = String;
///
///     async fn execute(&self, input: String, _cx: &TaskContext) -> Result<String> {
///         tokio::time::sleep(std::time::Duration::from_millis(self.milliseconds)).await;
///         Ok(input)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let words = ["to", "be"].map(String::from);
/// let waited = IndexedStream::from(words).map(Wait { milliseconds: 5 });
/// assert_eq!(waited.collect(&runtime).await?, ["to", "be"]);
/// # Ok(())
/// # }
/// ```
pub trait AsyncOperation: RemoteExecute {
    /// The type of the elements that it runs on.
    type Input: Data;
    /// The type of its results.
    type Output: Data;

    /// Runs the operation on one input.
    ///
    /// The future is dropped when its element times out, or a moment after its job was cancelled.
    /// Await [`TaskContext::cancelled`] to tidy up before that.
    ///
    /// # Errors
    /// Any; like [`Operation::execute`].
    fn execute(
        &self,
        input: Self::Input,
        cx: &TaskContext,
    ) -> impl Future<Output = Result<Self::Output>> + Send;
}
