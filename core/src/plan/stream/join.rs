//! The directives that bring two streams together by key.

use std::hash::Hash;

use super::IndexedStream;
use crate::{operation::Data, plan::ExchangeKind, wire::JoinKind};

/// Directives that bring two streams together by their keys.
///
/// Each costs one exchange of all elements of both streams. The order of the outputs is not
/// defined. The values of one key, of both streams, must fit into the memory of a worker; the
/// outputs need not.
impl<K: Data, V: Data> IndexedStream<(K, V)> {
    /// Brings each value together with each value of the same key in another stream. Keys that one
    /// of the streams lacks are left out.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let prices = IndexedStream::from([(1, 250), (2, 40)]);
    /// let buyers = [(2, "Ann"), (1, "Bob"), (2, "Bob"), (3, "Eve")];
    /// let buyers = IndexedStream::from(buyers.map(|(article, name)| (article, name.to_owned())));
    ///
    /// let mut sold = buyers.join(prices).collect(&runtime).await?;
    /// sold.sort();
    /// assert_eq!(sold.len(), 3);
    /// assert_eq!(sold[0], (1, ("Bob".to_owned(), 250)));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "inner_join")]
    pub fn join<W: Data>(self, other: IndexedStream<(K, W)>) -> IndexedStream<(K, (V, W))>
    where
        K: Eq + Hash,
    {
        self.joined(ExchangeKind::Join(JoinKind::Inner), other)
    }

    /// As [`join`](Self::join), and keeps the values whose key the other stream lacks, with `None`.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let sold = IndexedStream::from([(1, 7), (3, 2)]);
    /// let prices = IndexedStream::from([(1, 250), (2, 40)]);
    /// let mut rows = sold.left_join(prices).collect(&runtime).await?;
    /// rows.sort();
    /// assert_eq!(rows, [(1, (7, Some(250))), (3, (2, None))]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// For a right join, swap the streams, and then the values of each pair:
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn swap_sides((price, sold): (u64, Option<u64>)) -> (Option<u64>, u64) {
    ///     (sold, price)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let sold = IndexedStream::from([(1, 7), (3, 2)]);
    /// let prices = IndexedStream::from([(1, 250), (2, 40)]);
    /// let mut rows = prices.left_join(sold).map_values(SwapSides).collect(&runtime).await?;
    /// rows.sort();
    /// assert_eq!(rows, [(1, (Some(7), 250)), (2, (None, 40))]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "left_outer_join")]
    #[doc(alias = "right_join")]
    pub fn left_join<W: Data>(
        self,
        other: IndexedStream<(K, W)>,
    ) -> IndexedStream<(K, (V, Option<W>))>
    where
        K: Eq + Hash,
    {
        self.joined(ExchangeKind::Join(JoinKind::Left), other)
    }

    /// As [`join`](Self::join), and keeps the values whose key one of the streams lacks, with
    /// `None`.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let sold = IndexedStream::from([(1, 7), (3, 2)]);
    /// let prices = IndexedStream::from([(1, 250), (2, 40)]);
    /// let mut rows = sold.full_join(prices).collect(&runtime).await?;
    /// rows.sort();
    /// let expected = [(1, (Some(7), Some(250))), (2, (None, Some(40))), (3, (Some(2), None))];
    /// assert_eq!(rows, expected);
    /// # Ok(())
    /// # }
    /// ```
    #[expect(clippy::type_complexity, reason = "a pair of pairs is what users see")]
    #[doc(alias = "outer_join")]
    #[doc(alias = "full_outer_join")]
    pub fn full_join<W: Data>(
        self,
        other: IndexedStream<(K, W)>,
    ) -> IndexedStream<(K, (Option<V>, Option<W>))>
    where
        K: Eq + Hash,
    {
        self.joined(ExchangeKind::Join(JoinKind::Full), other)
    }

    /// Keeps the values whose key is in another stream, however often.
    ///
    /// The keys of the other stream travel once from each task.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let visits = IndexedStream::from([(7, "/"), (9, "/help"), (7, "/cart")]
    ///     .map(|(user, page)| (user, page.to_owned())));
    /// let members = IndexedStream::from([7, 8, 7]);
    /// assert_eq!(visits.semi_join(members).count().run(&runtime).await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "left_semi_join")]
    pub fn semi_join(self, keys: IndexedStream<K>) -> Self
    where
        K: Eq + Hash,
    {
        self.joined(ExchangeKind::Filter { present: true }, keys)
    }

    /// Keeps the values whose key is not in another stream.
    ///
    /// The keys of the other stream travel once from each task.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let orders = IndexedStream::from([(7, 250), (9, 40)]);
    /// let blocked = IndexedStream::from([7]);
    /// assert_eq!(orders.anti_join(blocked).collect(&runtime).await?, [(9, 40)]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "left_anti_join")]
    #[doc(alias = "subtract_by_key")]
    pub fn anti_join(self, keys: IndexedStream<K>) -> Self
    where
        K: Eq + Hash,
    {
        self.joined(ExchangeKind::Filter { present: false }, keys)
    }

    /// Brings all values of each key in both streams together, each in the order of its input.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let bought = IndexedStream::from([(1, 7), (3, 2), (1, 5)]);
    /// let returned = IndexedStream::from([(1, 5), (2, 9)]);
    /// let mut all = bought.cogroup(returned).collect(&runtime).await?;
    /// all.sort();
    /// assert_eq!(all[0], (1, (vec![7, 5], vec![5])));
    /// assert_eq!(all[1..], [(2, (vec![], vec![9])), (3, (vec![2], vec![]))]);
    /// # Ok(())
    /// # }
    /// ```
    #[expect(clippy::type_complexity, reason = "a pair of pairs is what users see")]
    #[doc(alias = "group_with")]
    pub fn cogroup<W: Data>(
        self,
        other: IndexedStream<(K, W)>,
    ) -> IndexedStream<(K, (Vec<V>, Vec<W>))>
    where
        K: Eq + Hash,
    {
        self.joined(ExchangeKind::Cogroup, other)
    }
}
