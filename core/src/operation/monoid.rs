//! What folds combine with.

use super::{Data, RemoteExecute, Result, TaskContext};

/// An associative operation with an identity.
///
/// `combine(a, combine(b, c))` must equal `combine(combine(a, b), c)`, and `empty()` must change
/// nothing on either side. It need not be commutative: a fold keeps the order of its input.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a monoid",
    label = "does not implement `Monoid`",
    note = "a fold combines with a `Monoid`, whose `empty` is the fold over nothing; an operation \
            from `(T, T)` to `T` goes to `reduce`"
)]
pub trait Monoid: RemoteExecute {
    /// What is combined.
    type Elem: Data;

    /// The identity, and the value of a fold over nothing.
    fn empty(&self) -> Self::Elem;

    /// Combines two neighbours, `a` before `b`.
    ///
    /// # Errors
    /// As [`Operation::execute`](super::Operation::execute).
    fn combine(&self, a: Self::Elem, b: Self::Elem, cx: &TaskContext) -> Result<Self::Elem>;
}
