//! The directives that compare whole elements of two streams.

use std::hash::Hash;

use super::IndexedStream;
use crate::{operation::Data, plan::ExchangeKind};

/// Directives that compare whole elements of two streams.
///
/// Two elements are equal if their encodings are. The order of the outputs is not defined.
impl<T: Data> IndexedStream<T> {
    /// Keeps the elements that another stream has, too, each of them once.
    ///
    /// Costs one exchange of as many rows as the tasks of both streams have different elements:
    /// equal ones are left out before they travel. To keep equal elements, make pairs and use
    /// [`semi_join`](Self::semi_join).
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let monday = IndexedStream::from(["ann", "bob", "ann"].map(String::from));
    /// let tuesday = IndexedStream::from(["eve", "ann"].map(String::from));
    /// assert_eq!(monday.intersection(tuesday).collect(&runtime).await?, ["ann"]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "intersect")]
    #[doc(alias = "common")]
    pub fn intersection(self, other: Self) -> Self
    where
        T: Eq + Hash,
    {
        self.joined(ExchangeKind::Intersection { pairs: false }, other)
    }

    /// Removes the elements that another stream has.
    ///
    /// Equal elements of this stream all stay or all go, as in Spark's `subtract` on RDDs, and as
    /// if a `filter` looked each up in a set of the other stream. For a difference of sets (SQL's
    /// `EXCEPT`), which has each element once, continue with [`distinct`](Self::distinct).
    ///
    /// Costs one exchange of all elements of this stream, and of as many of the other as its tasks
    /// have different ones.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let visits = IndexedStream::from(["ann", "bob", "bob", "eve"].map(String::from));
    /// let staff = IndexedStream::from(["eve", "ann"].map(String::from));
    /// assert_eq!(visits.subtract(staff).collect(&runtime).await?, ["bob", "bob"]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "difference")]
    #[doc(alias = "except")]
    #[doc(alias = "except_all")]
    pub fn subtract(self, other: Self) -> Self
    where
        T: Eq + Hash,
    {
        self.joined(ExchangeKind::Subtract { pairs: false }, other)
    }
}
