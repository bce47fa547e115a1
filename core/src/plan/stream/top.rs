//! The ends that keep the largest elements.

use super::IndexedStream;
use crate::{
    operation::{Data, Step},
    plan::{
        End, ValueProgram,
        collector::{Top, TopByKey},
    },
    registry::Largest,
};

/// The largest elements, without sorting the others.
impl<T: Data> IndexedStream<T> {
    /// The `n` largest elements, the largest first; all of them, if there are fewer.
    ///
    /// Equal elements are all kept. If their encodings differ, those come first whose encoded bytes
    /// are smaller in lexicographic order. So each run has the same result, if equal elements are
    /// always encoded alike (a `HashMap` is not).
    ///
    /// Directly after `map`, `filter` or `flat_map`, each task sends at most `n` elements to the
    /// leader. After other steps the workers do not know the order, and all elements travel;
    /// [`top_by_key`](Self::top_by_key) moves less then. The leader keeps `n` elements in memory.
    ///
    /// For the smallest elements, wrap them in [`Reverse`](std::cmp::Reverse) with a
    /// [`map`](Self::map), as [`top_by_key`](Self::top_by_key) shows. Floats have no total order:
    /// give the elements a key that has one.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn square(n: i64) -> i64 {
    ///     n * n
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let squares = IndexedStream::from(-10..=9).map(Square);
    /// assert_eq!(squares.top(3).run(&runtime).await?, [100, 81, 81]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "nlargest")]
    #[doc(alias = "top_k")]
    #[doc(alias = "max")]
    #[doc(alias = "sort")]
    pub fn top(mut self, n: usize) -> ValueProgram<Vec<T>>
    where
        T: Ord,
    {
        self.program.end(End::Top { most: n as u64, by_key: false }, "top");
        ValueProgram::new(self.program, Top(Largest::new(n)))
    }

    /// The `n` elements for which an operation has the largest outputs, the largest first; all
    /// elements, if there are fewer.
    ///
    /// Of elements with equal keys, those come first whose encoded bytes are smaller in
    /// lexicographic order. So each run has the same result, if equal elements are always encoded
    /// alike (a `HashMap` is not). If you need another order of these, make it part of the key.
    /// Equal elements are all kept.
    ///
    /// Each task sends at most `n` elements with their keys to the leader, which keeps `n` of them
    /// in memory.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn words(line: &str) -> Vec<String> {
    ///     line.split_whitespace().map(str::to_lowercase).collect()
    /// }
    ///
    /// #[operation]
    /// fn frequency((_, count): &(String, u64)) -> u64 {
    ///     *count
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let lines = ["to be or", "not to be", "to do"].map(String::from);
    /// let counts = IndexedStream::from(lines).flat_map(Words).count_by_value();
    /// let frequent = counts.top_by_key(2, Frequency).run(&runtime).await?;
    /// assert_eq!(frequent, [("to".to_owned(), 3), ("be".to_owned(), 2)]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A key in [`Reverse`](std::cmp::Reverse) finds the smallest instead:
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// use std::cmp::Reverse;
    ///
    /// #[operation]
    /// fn shortness(word: &str) -> Reverse<usize> {
    ///     Reverse(word.len())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let words = ["question", "is", "the"].map(String::from);
    /// let shortest = IndexedStream::from(words).top_by_key(2, Shortness).run(&runtime).await?;
    /// assert_eq!(shortest, ["is", "the"]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "take_ordered")]
    #[doc(alias = "takeOrdered")]
    #[doc(alias = "nlargest")]
    #[doc(alias = "nsmallest")]
    #[doc(alias = "top_k_by")]
    #[doc(alias = "max_by_key")]
    #[doc(alias = "min_by_key")]
    pub fn top_by_key<O, Mode>(self, n: usize, operation: O) -> ValueProgram<Vec<T>>
    where
        O: Step<Mode, Input = T>,
        O::Output: Ord,
    {
        let mut program = self.key_by(operation).program;
        program.end(End::Top { most: n as u64, by_key: true }, "top_by_key");
        ValueProgram::new(program, TopByKey(Largest::<O::Output, T>::new(n)))
    }
}
