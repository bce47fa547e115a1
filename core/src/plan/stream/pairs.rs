//! The directives that look at keys or values alone. No element moves because of them.

use super::IndexedStream;
use crate::{
    operation::{Data, Step},
    registry::Verb,
};

/// Directives on pairs of a key and a value that run an operation on one of them. The other one is not
/// even decoded. They run in one pass with their neighbours, as [`map`](Self::map) does.
impl<K: Data, V: Data> IndexedStream<(K, V)> {
    /// Runs an operation on each value; its output takes the place of the value.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn length(text: &str) -> usize {
    ///     text.len()
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let pages = [(1, "to be"), (2, "or not")].map(|(page, text)| (page, text.to_owned()));
    /// let lengths = IndexedStream::from(pages).map_values(Length).collect(&runtime).await?;
    /// assert_eq!(lengths, [(1, 5), (2, 6)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_values<O, Mode>(self, operation: O) -> IndexedStream<(K, O::Output)>
    where
        O: Step<Mode, Input = V>,
    {
        self.step(&operation, Verb::MapValues)
    }

    /// Runs an operation on each value, and continues with all items of its outputs, each with the key
    /// of the value.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn words(text: &str) -> Vec<String> {
    ///     text.split(' ').map(String::from).collect()
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let pages = IndexedStream::from([(7, "to be".to_owned())]);
    /// let words = pages.flat_map_values(Words).collect(&runtime).await?;
    /// assert_eq!(words, [(7, "to".to_owned()), (7, "be".to_owned())]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn flat_map_values<O, Mode>(
        self,
        operation: O,
    ) -> IndexedStream<(K, <O::Output as IntoIterator>::Item)>
    where
        O: Step<Mode, Input = V>,
        O::Output: IntoIterator,
        <O::Output as IntoIterator>::Item: Data,
    {
        self.step(&operation, Verb::FlatMapValues)
    }

    /// Keeps the pairs for whose values the operation returns `true`.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn is_even(n: &u64) -> bool {
    ///     n % 2 == 0
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let even = IndexedStream::from([('a', 1), ('b', 2)]).filter_values(IsEven);
    /// assert_eq!(even.collect(&runtime).await?, [('b', 2)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn filter_values<O, Mode>(self, operation: O) -> Self
    where
        O: Step<Mode, Input = V, Output = bool>,
    {
        self.step(&operation, Verb::FilterValues)
    }

    /// Keeps the pairs for whose keys the operation returns `true`.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn is_even(n: &u64) -> bool {
    ///     n % 2 == 0
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let even = IndexedStream::from([(1, 'a'), (2, 'b')]).filter_keys(IsEven);
    /// assert_eq!(even.collect(&runtime).await?, [(2, 'b')]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn filter_keys<O, Mode>(self, operation: O) -> Self
    where
        O: Step<Mode, Input = K, Output = bool>,
    {
        self.step(&operation, Verb::FilterKeys)
    }

    /// The keys alone, one for each pair.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let keys = IndexedStream::from([(1, 0.5), (2, 0.25), (1, 0.75)]).keys();
    /// assert_eq!(keys.collect(&runtime).await?, [1, 2, 1]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn keys(mut self) -> IndexedStream<K> {
        self.program.step_without_operation(Verb::Keys);
        self.retyped()
    }

    /// The values alone, one for each pair.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let values = IndexedStream::from([(1, 'a'), (2, 'b')]).values();
    /// assert_eq!(values.collect(&runtime).await?, ['a', 'b']);
    /// # Ok(())
    /// # }
    /// ```
    pub fn values(mut self) -> IndexedStream<V> {
        self.program.step_without_operation(Verb::Values);
        self.retyped()
    }

    /// The value of each pair as its key, and the key as its value.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let pairs = IndexedStream::from([(1, 'a'), (2, 'b')]).swap();
    /// assert_eq!(pairs.collect(&runtime).await?, [('a', 1), ('b', 2)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn swap(mut self) -> IndexedStream<(V, K)> {
        self.program.step_without_operation(Verb::Swap);
        self.retyped()
    }
}

/// Directives that give each element a key.
impl<T: Data> IndexedStream<T> {
    /// Makes pairs: the output of an operation is the key of its input, which is the value.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn length(word: &str) -> usize {
    ///     word.len()
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let words = ["to", "not"].map(String::from);
    /// let by_length = IndexedStream::from(words).key_by(Length).collect(&runtime).await?;
    /// assert_eq!(by_length, [(2, "to".to_owned()), (3, "not".to_owned())]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn key_by<O, Mode>(self, operation: O) -> IndexedStream<(O::Output, T)>
    where
        O: Step<Mode, Input = T>,
    {
        self.step(&operation, Verb::KeyBy)
    }

    /// Brings the elements together for which an operation has the same output, in the order of the
    /// input: [`key_by`](Self::key_by), then [`group_by_key`](Self::group_by_key).
    ///
    /// The order of the keys is not defined. All elements of one key must fit into the memory of a
    /// worker.
    ///
    /// Costs one exchange of all elements.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn length(word: &str) -> usize {
    ///     word.len()
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let words = ["to", "not", "be"].map(String::from);
    /// let mut by_length = IndexedStream::from(words).group_by(Length).collect(&runtime).await?;
    /// by_length.sort();
    /// assert_eq!(by_length[0], (2, vec!["to".to_owned(), "be".to_owned()]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn group_by<O, Mode>(self, operation: O) -> IndexedStream<(O::Output, Vec<T>)>
    where
        O: Step<Mode, Input = T>,
        O::Output: Eq + std::hash::Hash,
    {
        self.key_by(operation).group_by_key()
    }
}
