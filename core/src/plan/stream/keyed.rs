//! The directives that bring elements with equal keys together.

use std::hash::Hash;

use super::IndexedStream;
use crate::{
    operation::{Data, Monoid, Operation},
    plan::ExchangeKind,
    registry::Verb,
};

/// Directives on pairs of a key and a value. All of them bring the values of equal keys together.
///
/// Two keys are equal if their encodings are. Values of a type whose `Eq` is coarser than that are
/// different keys: of a string that ignores case, `"To"` and `"to"` are counted apart. Bring such
/// values to one form first, with a `map`.
impl<K: Data, V: Data> IndexedStream<(K, V)> {
    /// Combines the values of each key with an operation from `(V, V)` to `V`.
    ///
    /// Values are combined before they travel: each task sends one value for each of its keys. They
    /// keep the order of the input, so the operation must be associative, but need not commute. The
    /// order of the keys is not defined.
    ///
    /// Costs one exchange of as many rows as tasks have different keys.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn add(a: u64, b: u64) -> u64 {
    ///     a + b
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let sales = [("apples", 3), ("pears", 1), ("apples", 4)].map(|(what, n)| (what.to_owned(), n));
    /// let mut sold = IndexedStream::from(sales).reduce_by_key(Add).collect(&runtime).await?;
    /// sold.sort();
    /// assert_eq!(sold, [("apples".to_owned(), 7), ("pears".to_owned(), 1)]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "combine_by_key")]
    pub fn reduce_by_key<O>(mut self, operation: O) -> Self
    where
        K: Eq + Hash,
        O: Operation<Input = (V, V), Output = V>,
    {
        self.program.combine_by_key(&operation, Verb::ReduceByKey);
        self
    }

    /// Combines the values of each key with a monoid, as [`reduce_by_key`](Self::reduce_by_key)
    /// does with an operation.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[derive(Serialize, Deserialize, RemoteExecute)]
    /// struct Longest;
    ///
    /// impl Monoid for Longest {
    ///     type Elem = String;
    ///
    ///     fn empty(&self) -> String {
    ///         String::new()
    ///     }
    ///
    ///     fn combine(&self, a: String, b: String, _cx: &TaskContext) -> Result<String> {
    ///         Ok(if b.len() > a.len() { b } else { a })
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let words = [(1, "to"), (1, "be"), (2, "or"), (1, "not")].map(|(n, word)| (n, word.to_owned()));
    /// let mut longest = IndexedStream::from(words).fold_by_key(Longest).collect(&runtime).await?;
    /// longest.sort();
    /// assert_eq!(longest, [(1, "not".to_owned()), (2, "or".to_owned())]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// To aggregate values into another type (Spark's `aggregateByKey`), make a value of that type
    /// from each with [`map_values`](Self::map_values), and fold these:
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// /// The sum of some values, and their number.
    /// #[operation]
    /// fn one_value(value: u64) -> (u64, u64) {
    ///     (value, 1)
    /// }
    ///
    /// #[derive(Serialize, Deserialize, RemoteExecute)]
    /// struct Sums;
    ///
    /// impl Monoid for Sums {
    ///     type Elem = (u64, u64);
    ///
    ///     fn empty(&self) -> (u64, u64) {
    ///         (0, 0)
    ///     }
    ///
    ///     fn combine(&self, a: (u64, u64), b: (u64, u64), _: &TaskContext) -> Result<(u64, u64)> {
    ///         Ok((a.0 + b.0, a.1 + b.1))
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let ages = IndexedStream::from([('a', 30), ('b', 20), ('a', 50)]);
    /// let sums = ages.map_values(OneValue).fold_by_key(Sums).collect_map(&runtime).await?;
    /// let (sum, count) = sums[&'a'];
    /// assert_eq!(sum / count, 40);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "aggregate_by_key")]
    #[doc(alias = "aggregateByKey")]
    pub fn fold_by_key<M>(mut self, monoid: M) -> Self
    where
        K: Eq + Hash,
        M: Monoid<Elem = V>,
    {
        self.program.combine_by_key(&monoid, Verb::FoldByKey);
        self
    }

    /// Brings the values of each key together, in the order of the input.
    ///
    /// The order of the keys is not defined. All values of one key must fit into the memory of a
    /// worker; where an operation can combine them, [`reduce_by_key`](Self::reduce_by_key) moves
    /// less.
    ///
    /// Costs one exchange of all elements.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let visits = [("bob", 7), ("ann", 9), ("bob", 5)].map(|(who, at)| (who.to_owned(), at));
    /// let mut of_each = IndexedStream::from(visits).group_by_key().collect(&runtime).await?;
    /// of_each.sort();
    /// assert_eq!(of_each, [("ann".to_owned(), vec![9]), ("bob".to_owned(), vec![7, 5])]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn group_by_key(mut self) -> IndexedStream<(K, Vec<V>)>
    where
        K: Eq + Hash,
    {
        self.program.exchange(ExchangeKind::GroupByKey, None);
        self.retyped()
    }

    /// Counts the values of each key.
    ///
    /// They are counted before they travel. The order of the keys is not defined.
    ///
    /// Costs one exchange of as many rows as tasks have different keys.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let visits = [("bob", 7), ("ann", 9), ("bob", 5)].map(|(who, at)| (who.to_owned(), at));
    /// let mut counts = IndexedStream::from(visits).count_by_key().collect(&runtime).await?;
    /// counts.sort();
    /// assert_eq!(counts, [("ann".to_owned(), 1), ("bob".to_owned(), 2)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn count_by_key(mut self) -> IndexedStream<(K, u64)>
    where
        K: Eq + Hash,
    {
        self.program.exchange(ExchangeKind::CountByKey, None);
        self.retyped()
    }
}

/// Directives that bring equal elements together.
impl<T: Data> IndexedStream<T> {
    /// Counts how often each element occurs.
    ///
    /// Equal elements are counted before they travel. The order of the outputs is not defined.
    ///
    /// Costs one exchange of as many rows as tasks have different elements.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn words(line: &str) -> Vec<String> {
    ///     line.split_whitespace().map(str::to_lowercase).collect()
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let lines = ["To be or", "not to be"].map(String::from);
    /// let counts = IndexedStream::from(lines).flat_map(Words).count_by_value();
    /// let mut counts = counts.collect(&runtime).await?;
    /// counts.sort();
    /// assert_eq!(counts[0], ("be".to_owned(), 2));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// For a histogram, map each element to its bin, and count the bins:
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// /// The bin of a value, by its lower end.
    /// #[operation]
    /// fn bin(#[state] width: u64, value: u64) -> u64 {
    ///     value - value % width
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let ages = IndexedStream::from([31, 24, 38, 33]);
    /// let histogram = ages.map(Bin { width: 10 }).count_by_value().collect_map(&runtime).await?;
    /// assert_eq!((histogram[&20], histogram[&30]), (1, 3));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "value_counts")]
    #[doc(alias = "histogram")]
    pub fn count_by_value(mut self) -> IndexedStream<(T, u64)>
    where
        T: Eq + Hash,
    {
        self.program.exchange(ExchangeKind::CountByValue, None);
        self.retyped()
    }

    /// Keeps one of several equal elements.
    ///
    /// Equal elements are left out before they travel, too. The order of the outputs is not
    /// defined.
    ///
    /// Costs one exchange of as many rows as tasks have different elements.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let mut seen = IndexedStream::from([7, 3, 7, 7]).distinct().collect(&runtime).await?;
    /// seen.sort();
    /// assert_eq!(seen, [3, 7]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// To count distinct elements approximately, without an exchange, combine bitmaps in which the
    /// hash of each element sets a bit. The number of bits that are still zero tells how many
    /// elements there are (linear counting; use at least as many bits as distinct elements):
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// use std::hash::{DefaultHasher, Hash, Hasher};
    ///
    /// const BITS: usize = 8192;
    ///
    /// #[operation]
    /// fn bitmap(user: &u64) -> Vec<u64> {
    ///     let mut hasher = DefaultHasher::new();
    ///     user.hash(&mut hasher);
    ///     let bit = hasher.finish() as usize % BITS;
    ///     let mut bitmap = vec![0; BITS / 64];
    ///     bitmap[bit / 64] = 1 << (bit % 64);
    ///     bitmap
    /// }
    ///
    /// #[operation]
    /// fn both(a: Vec<u64>, b: Vec<u64>) -> Vec<u64> {
    ///     a.iter().zip(&b).map(|(a, b)| a | b).collect()
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let users = IndexedStream::from((0..5_000).map(|visit| visit % 1_000));
    /// let bitmap = users.map(Bitmap).reduce(Both).run(&runtime).await?.unwrap_or_default();
    /// let zeros: u32 = bitmap.iter().map(|bits| bits.count_zeros()).sum();
    /// let distinct = -(BITS as f64) * (f64::from(zeros) / BITS as f64).ln();
    /// assert!((distinct - 1_000.0).abs() < 50.0);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "unique")]
    #[doc(alias = "dedup")]
    #[doc(alias = "approx_count_distinct")]
    pub fn distinct(mut self) -> Self
    where
        T: Eq + Hash,
    {
        self.program.exchange(ExchangeKind::Distinct { pairs: false }, None);
        self
    }

    /// The number of partitions of the exchange just before, 1 to 4,096: what is read by different
    /// tasks. Default: four for each slot of the workers, at least 32 and at most 256.
    ///
    /// More partitions let more workers read at the same time, and cost more and smaller messages.
    ///
    /// Another number, or no directive such as [`count_by_value`](Self::count_by_value) just
    /// before, is a mistake that the end of the program returns as
    /// [`Error::Plan`](crate::Error::Plan).
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// let counts = IndexedStream::from([7, 3, 7]).count_by_value().partitions(8);
    /// assert!(counts.explain()?.contains("8 partitions"));
    /// # Ok::<(), phalanx::Error>(())
    /// ```
    #[doc(alias = "num_partitions")]
    #[doc(alias = "repartition")]
    pub fn partitions(mut self, count: u32) -> Self {
        self.program.set_partitions(count);
        self
    }
}
