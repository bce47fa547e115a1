//! The methods that run a program.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

use futures::{Stream, stream};

use super::{Job, Runtime, launch::OutputReceiver, results::Results, value::ValueFuture};
use crate::{
    codec,
    error::Error,
    leader::io::CreditedBlock,
    operation::{Data, KeyPrefix},
    plan::{End, FoldProgram, IndexedStream, ValueProgram},
};

impl<T: Data> IndexedStream<T> {
    /// Runs the program and returns its outputs as a stream, as they are completed.
    ///
    /// Each output comes with the index of the source element that it was made from. Dropping the
    /// stream cancels the job.
    ///
    /// # Errors
    /// If the program has a mistake, or the runtime is closed. Later errors are items of the
    /// stream.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let mut results = IndexedStream::from([5, 6]).map(Double).run(&runtime).await?;
    /// while let Some(result) = results.next().await {
    ///     let (index, doubled) = result?;
    ///     assert_eq!(doubled, 2 * (5 + index));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "as_completed")]
    pub async fn run(self, runtime: &Runtime) -> Result<Results<T>, Error> {
        let (_, results) = self.start(runtime)?;
        Ok(results)
    }

    /// Starts the program, like [`run`](Self::run), and also returns a handle to watch and cancel
    /// the job.
    ///
    /// # Errors
    /// If the program has a mistake, the runtime is closed, or the call is outside of Tokio.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let (job, results) = IndexedStream::from(0..100).map(Double).start(&runtime)?;
    /// let doubled = results.collect().await?;
    /// println!("job {} has {} outputs", job.id(), doubled.len());
    /// assert_eq!(doubled.len(), 100);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "submit")]
    pub fn start(self, runtime: &Runtime) -> Result<(Job, Results<T>), Error> {
        let (plan, sources) = self.program.into_parts()?;
        let take = match plan.end {
            End::Stream { take, .. } => take,
            End::Top { .. } | End::Fold { .. } | End::Count => None,
        };
        let launched = runtime.launch(plan, sources)?;
        let (job, satisfied) = (launched.job.id(), launched.job.satisfied());
        let results = Results::new(job, blocks(launched.outputs), take, satisfied);
        Ok((launched.job, results))
    }

    /// Runs the program and collects its outputs in input order.
    ///
    /// Dropping the future cancels the job.
    ///
    /// # Errors
    /// If the program has a mistake, the runtime is closed, or the job fails.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let doubled = IndexedStream::from([1, 2, 3]).map(Double).collect(&runtime).await?;
    /// assert_eq!(doubled, [2, 4, 6]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "gather")]
    pub async fn collect(self, runtime: &Runtime) -> Result<Vec<T>, Error> {
        let mut results = self.ordered().run(runtime).await?;
        let mut collected = Vec::new();
        while let Some((_, output)) = results.try_next().await? {
            collected.push(output);
        }
        Ok(collected)
    }
}

impl<K: Data + Eq + Hash, V: Data> IndexedStream<(K, V)> {
    /// Runs the program and collects its pairs in a map.
    ///
    /// Dropping the future cancels the job.
    ///
    /// # Errors
    /// If the program has a mistake, the runtime is closed, the job fails, or a key comes twice:
    /// combine its values before, with [`reduce_by_key`](Self::reduce_by_key) or the like.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let seen = ["to", "be", "to"].map(String::from);
    /// let counts = IndexedStream::from(seen).count_by_value().collect_map(&runtime).await?;
    /// assert_eq!(counts["to"], 2);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "collect_as_map")]
    pub async fn collect_map(self, runtime: &Runtime) -> Result<HashMap<K, V>, Error> {
        let (job, mut results) = self.start(runtime)?;
        let mut map = HashMap::new();
        while let Some((_, (key, value))) = results.try_next().await? {
            match map.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(value);
                }
                Entry::Occupied(entry) => {
                    // It was decoded, so it can be encoded.
                    let key = KeyPrefix::of(&codec::encode(entry.key()).unwrap_or_default());
                    return Err(Error::DuplicateKey { job: job.id(), key });
                }
            }
        }
        Ok(map)
    }
}

impl<V: Send + 'static> ValueProgram<V> {
    /// Runs the program and returns its value. Dropping the future cancels the job.
    ///
    /// # Errors
    /// If the program has a mistake, the runtime is closed, or the job fails.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn double(n: u64) -> u64 {
    ///     n * 2
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let first = IndexedStream::from(21..).map(Double).first().run(&runtime).await?;
    /// assert_eq!(first, Some(42));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run(self, runtime: &Runtime) -> Result<V, Error> {
        let (_, value) = self.start(runtime)?;
        value.await
    }

    /// Starts the program, like [`run`](Self::run), and also returns a handle to watch and cancel
    /// the job.
    ///
    /// # Errors
    /// If the program has a mistake, the runtime is closed, or the call is outside of Tokio.
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
    /// let program = IndexedStream::from(0..100).filter(IsEven).count();
    /// let (job, count) = program.start(&runtime)?;
    /// println!("counting in job {}", job.id());
    /// assert_eq!(count.await?, 50);
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(self, runtime: &Runtime) -> Result<(Job, ValueFuture<V>), Error> {
        let (plan, sources) = self.program.into_parts()?;
        let launched = runtime.launch(plan, sources)?;
        let (job, satisfied) = (launched.job.id(), launched.job.satisfied());
        let outputs = blocks(launched.outputs);
        let value = ValueFuture::new(job, outputs, self.collector, satisfied);
        Ok((launched.job, value))
    }
}

impl<V: Send + 'static> FoldProgram<V> {
    /// Runs the program and returns its value. Dropping the future cancels the job.
    ///
    /// # Errors
    /// If the program has a mistake, the runtime is closed, or the job fails.
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
    /// assert_eq!(IndexedStream::from(1..=100).reduce(Add).run(&runtime).await?, Some(5050));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run(self, runtime: &Runtime) -> Result<V, Error> {
        self.0.run(runtime).await
    }

    /// Starts the program, like [`run`](Self::run), and also returns a handle to watch and cancel
    /// the job.
    ///
    /// # Errors
    /// If the program has a mistake, the runtime is closed, or the call is outside of Tokio.
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
    /// let (job, sum) = IndexedStream::from(1..=100).reduce(Add).start(&runtime)?;
    /// println!("adding up in job {}", job.id());
    /// assert_eq!(sum.await?, Some(5050));
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(self, runtime: &Runtime) -> Result<(Job, ValueFuture<V>), Error> {
        self.0.start(runtime)
    }
}

fn blocks(outputs: OutputReceiver) -> impl Stream<Item = Result<CreditedBlock, Error>> + Send {
    stream::unfold(outputs, async |mut outputs| {
        let block = outputs.recv().await?;
        Some((block, outputs))
    })
}
