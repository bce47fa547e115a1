//! Monoids: operations that folds combine with.

use super::{Data, RemoteExecute, Result, TaskContext};

/// An associative operation with an identity, for [`fold`](crate::plan::IndexedStream::fold).
///
/// `combine(a, combine(b, c))` must equal `combine(combine(a, b), c)`, and combining with `empty()`
/// on either side must change nothing. It need not be commutative: a fold keeps the order of its
/// input. If there is no natural identity, use
/// [`reduce`](crate::plan::IndexedStream::reduce) with an operation from `(T, T)` to `T`.
///
/// ```
/// # use phalanx::prelude::*;
/// /// Appends texts, separated by a string.
/// #[derive(Serialize, Deserialize, RemoteExecute)]
/// struct Join(String);
///
/// impl Monoid for Join {
///     type Elem = String;
///
///     fn empty(&self) -> String {
///         String::new()
///     }
///
///     fn combine(&self, a: String, b: String, _cx: &TaskContext) -> Result<String> {
///         Ok(match (a.is_empty(), b.is_empty()) {
///             (true, _) => b,
///             (_, true) => a,
///             (false, false) => a + &self.0 + &b,
///         })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let words = ["to", "be", "or", "not"].map(String::from);
/// let text = IndexedStream::from(words).fold(Join(" ".to_owned())).run(&runtime).await?;
/// assert_eq!(text, "to be or not");
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a monoid",
    label = "does not implement `Monoid`",
    note = "a fold combines with a `Monoid`, whose `empty` is the value of a fold without elements; \
            use `reduce` for an operation from `(T, T)` to `T`"
)]
pub trait Monoid: RemoteExecute {
    /// The type of the elements, and of the value of the fold.
    type Elem: Data;

    /// The identity, which is also the value of a fold without elements.
    fn empty(&self) -> Self::Elem;

    /// Combines two neighbours, `a` before `b`.
    ///
    /// # Errors
    /// Any; like [`Operation::execute`](super::Operation::execute).
    fn combine(&self, a: Self::Elem, b: Self::Elem, cx: &TaskContext) -> Result<Self::Elem>;
}
