//! The ends of a program that give one value.

use bytes::Bytes;

use super::IndexedStream;
use crate::{
    codec,
    operation::{Data, Monoid, Step},
    plan::{
        End, FoldProgram, PlanError, ValueProgram,
        collector::{Nothing, One},
    },
    registry::Verb,
};

impl<T: Data> IndexedStream<T> {
    /// Combines all elements in input order, by a [`Monoid`], in trees on the workers.
    ///
    /// The value of a program without elements is [`Monoid::empty`].
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
    /// let words = ["as", "long", "as", "possible"].map(String::from);
    /// let longest = IndexedStream::from(words).fold(Longest).run(&runtime).await?;
    /// assert_eq!(longest, "possible");
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "reduce_by_key")]
    #[doc(alias = "aggregate")]
    pub fn fold<M: Monoid<Elem = T>>(mut self, monoid: M) -> FoldProgram<T> {
        self.program.step(&monoid, Verb::Fold);
        let empty = match codec::encode_checked(&monoid.empty()) {
            Ok(empty) => Bytes::from(empty),
            Err(error) => {
                self.program.note(PlanError::Empty {
                    operation: std::any::type_name::<M>().to_owned(),
                    reason: error.to_string(),
                });
                Bytes::new()
            }
        };
        self.program.end(End::Fold { empty: Some(empty), deterministic: false }, "fold");
        FoldProgram(ValueProgram::new(self.program, One::only()))
    }

    /// Combines all elements in input order, by an associative operation from `(T, T)` to `T`.
    ///
    /// The value of a program without elements is `None`. The operation need not be commutative.
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
    /// let sum = IndexedStream::from(1..=100).reduce(Add).run(&runtime).await?;
    /// assert_eq!(sum, Some(5050));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "reduce_by_key")]
    #[doc(alias = "chord")]
    pub fn reduce<O, Mode>(mut self, operation: O) -> FoldProgram<Option<T>>
    where
        O: Step<Mode, Input = (T, T), Output = T>,
    {
        self.program.step(&operation, Verb::Reduce);
        self.program.end(End::Fold { empty: None, deterministic: false }, "reduce");
        FoldProgram(ValueProgram::new(self.program, One::<T>::only()))
    }

    /// Counts the elements, without sending them to the leader.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn is_square(n: &u64) -> bool {
    ///     n.isqrt().pow(2) == *n
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let squares = IndexedStream::from(1..=1000).filter(IsSquare);
    /// assert_eq!(squares.count().run(&runtime).await?, 31);
    /// # Ok(())
    /// # }
    /// ```
    pub fn count(mut self) -> ValueProgram<u64> {
        self.program.end(End::Count, "count");
        ValueProgram::new(self.program, One::only())
    }

    /// The first element in input order; `None` if there are no elements.
    ///
    /// The job ends as soon as that element is known, even if the source is endless.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn is_square(n: &u64) -> bool {
    ///     n.isqrt().pow(2) == *n
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let first = IndexedStream::from(1000..).filter(IsSquare).first().run(&runtime).await?;
    /// assert_eq!(first, Some(1024));
    /// # Ok(())
    /// # }
    /// ```
    pub fn first(mut self) -> ValueProgram<Option<T>> {
        self.program.set_ordered();
        self.program.take(1);
        ValueProgram::new(self.program, One::<T>::first())
    }

    /// Runs an operation on each element for its side effects.
    ///
    /// An operation can run more than once on an element, after a failure of a worker or
    /// connection; [`TaskContext::element_key`](crate::operation::TaskContext::element_key)
    /// identifies such runs.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn store(id: u64, cx: &TaskContext) -> Result<()> {
    ///     let key = cx.element_key();
    ///     // … write `id` to a database, unless `key` is already stored.
    ///     # let _ = (id, key);
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// IndexedStream::from(1..=10).for_each(Store).run(&runtime).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn for_each<O, Mode>(self, operation: O) -> ValueProgram<()>
    where
        O: Step<Mode, Input = T, Output = ()>,
    {
        let mut program = self.map(operation).program;
        program.end(End::Count, "for_each");
        ValueProgram::new(program, Nothing)
    }
}
