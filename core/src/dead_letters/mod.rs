//! Dead letters: elements that failed permanently. Leaders write them, the broker keeps them, and
//! people list, show, replay and delete them.

mod element;
mod entry;
mod error;
mod reader;
mod replay;
mod writer;

use std::{fmt, sync::Arc};

use crate::{
    broker::{Broker, Pool},
    id::DeadLetterId,
};

pub(crate) use element::DeadElement;
pub use entry::{DeadLetterContent, DeadLetterEntry, UnreadableDeadLetter};
pub use error::DeadLetterError;
use reader::Reader;
pub(crate) use replay::RunPlan;
pub(crate) use writer::DeadLetterWriter;

/// The dead letters of a pool: elements that failed permanently, and messages of its task queue
/// that no worker could decode. From
/// [`Runtime::dead_letters`](crate::leader::Runtime::dead_letters).
///
/// A leader writes a dead letter for every element that fails permanently, whether the job fails or
/// skips the element. Failures that `try_map` turns into values, and elements of cancelled jobs,
/// produce none. Jobs do not wait for their dead letters, which are written a moment later.
///
/// The broker keeps them in one queue for each pool, bounded in number (10,000), size and age. The
/// user needs the permission to read this queue. While a method of this type runs, it holds the
/// messages that it has read, so that other programs do not see them; then it requeues them.
///
/// ```
/// # use phalanx::{broker::Pool, prelude::*};
/// # use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
/// static SERVER_IS_UP: AtomicBool = AtomicBool::new(false);
///
/// #[operation(name = "store")]
/// fn store(id: u64) -> Result<()> {
///     match SERVER_IS_UP.load(Relaxed) {
///         true => Ok(()),
///         false => Err(OperationError::fatal("the server is down")),
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let stored = IndexedStream::from([7]).for_each(Store).run(&runtime).await;
/// assert!(stored.is_err());
///
/// let dead_letters = runtime.dead_letters(&Pool::default());
/// # while dead_letters.list(1).await?.is_empty() {
/// #     tokio::task::yield_now().await; // It is written asynchronously.
/// # }
/// for entry in dead_letters.list(100).await? {
///     println!("{entry}");
///     assert!(entry.to_string().contains("operation `store` failed at element 0"));
///
///     SERVER_IS_UP.store(true, Relaxed);
///     dead_letters.replay(entry.id()).await?;
/// }
/// assert!(dead_letters.list(100).await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DeadLetters {
    broker: Arc<dyn Broker>,
    pool: Pool,
    /// Runs the plan of a replay as a job of the runtime that created this value.
    run_plan: RunPlan,
}

impl DeadLetters {
    /// The maximum length of the queue, unless it was declared differently. Further messages are
    /// not read.
    const MOST: u16 = 10_000;

    pub(crate) fn new(broker: Arc<dyn Broker>, pool: Pool, run_plan: RunPlan) -> Self {
        Self { broker, pool, run_plan }
    }

    /// The pool whose dead letters these are.
    ///
    /// ```
    /// # use phalanx::{broker::Pool, prelude::*};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let dead_letters = runtime.dead_letters(&Pool::new("gpu")?);
    /// assert_eq!(dead_letters.pool().as_str(), "gpu");
    /// # Ok(())
    /// # }
    /// ```
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Lists up to `limit` dead letters, the oldest first.
    ///
    /// # Errors
    /// If the queue cannot be read.
    ///
    /// ```
    /// # use phalanx::{broker::Pool, prelude::*};
    /// # #[operation]
    /// # fn half(n: u64) -> Result<u64> {
    /// #     match n % 2 {
    /// #         0 => Ok(n / 2),
    /// #         _ => Err(OperationError::fatal(format!("{n} is odd"))),
    /// #     }
    /// # }
    /// #
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let dead_letters = runtime.dead_letters(&Pool::default());
    /// # IndexedStream::from([7]).map(Half).collect(&runtime).await.unwrap_err();
    /// # while dead_letters.list(1).await?.is_empty() {
    /// #     tokio::task::yield_now().await; // It is written asynchronously.
    /// # }
    /// for entry in dead_letters.list(100).await? {
    ///     println!("{entry}"); // …: operation `half` failed at element 0 of job …: 7 is odd
    /// }
    /// assert_eq!(dead_letters.list(100).await?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self, limit: u16) -> Result<Vec<DeadLetterEntry>, DeadLetterError> {
        let mut scan = self.scan(limit).await?;
        let mut entries = Vec::new();
        while let Some((entry, _)) = scan.next().await? {
            entries.push(entry);
        }
        scan.finish().await;
        Ok(entries)
    }

    /// Returns a dead letter with its encoded element.
    ///
    /// # Errors
    /// If there is no dead letter with this id, or the queue cannot be read.
    ///
    /// ```
    /// # use phalanx::{broker::Pool, prelude::*};
    /// # #[operation]
    /// # fn half(n: u64) -> Result<u64> {
    /// #     match n % 2 {
    /// #         0 => Ok(n / 2),
    /// #         _ => Err(OperationError::fatal(format!("{n} is odd"))),
    /// #     }
    /// # }
    /// #
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// use phalanx::dead_letters::DeadLetterEntry;
    ///
    /// let dead_letters = runtime.dead_letters(&Pool::default());
    /// # IndexedStream::from([7]).map(Half).collect(&runtime).await.unwrap_err();
    /// # while dead_letters.list(1).await?.is_empty() {
    /// #     tokio::task::yield_now().await; // It is written asynchronously.
    /// # }
    /// let id = dead_letters.list(1).await?[0].id();
    /// let content = dead_letters.show(id).await?;
    /// let DeadLetterEntry::Element(header) = content.entry else { panic!("unreadable") };
    /// assert_eq!(header.error.error.message(), "7 is odd");
    /// assert_eq!(*content.payload, [7]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn show(&self, id: DeadLetterId) -> Result<DeadLetterContent, DeadLetterError> {
        let mut scan = self.scan(Self::MOST).await?;
        let mut found = None;
        while found.is_none()
            && let Some((entry, body)) = scan.next().await?
        {
            if entry.id() == id {
                found = Some(DeadLetterContent::new(entry, body));
            }
        }
        let unseen = scan.finish().await;
        found.ok_or_else(|| self.missing(id, unseen))
    }

    /// Runs the remaining steps of the failed stage on the element. On success, deletes the dead
    /// letter and returns the number of outputs, which are discarded.
    ///
    /// A replay is a job of this runtime, run by the workers of the pool. It is meant for
    /// operations with side effects, and to check whether a corrected operation works. Later stages
    /// of the original program do not run.
    ///
    /// Dropping the future keeps the dead letter. So does a replay that takes longer than the
    /// broker's acknowledgement timeout (30 minutes by default).
    ///
    /// # Errors
    /// If there is no dead letter with this id, its element was not kept, or the queue cannot be
    /// read. If the element fails again; the dead letter is then kept unchanged.
    ///
    /// ```
    /// # use phalanx::{broker::Pool, prelude::*};
    /// # #[operation]
    /// # fn half(n: u64) -> Result<u64> {
    /// #     match n % 2 {
    /// #         0 => Ok(n / 2),
    /// #         _ => Err(OperationError::fatal(format!("{n} is odd"))),
    /// #     }
    /// # }
    /// #
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// use phalanx::error::DeadLetterError;
    ///
    /// let dead_letters = runtime.dead_letters(&Pool::default());
    /// # IndexedStream::from([7]).map(Half).collect(&runtime).await.unwrap_err();
    /// # while dead_letters.list(1).await?.is_empty() {
    /// #     tokio::task::yield_now().await; // It is written asynchronously.
    /// # }
    /// let id = dead_letters.list(1).await?[0].id();
    /// let replayed = dead_letters.replay(id).await;
    /// assert!(matches!(replayed, Err(DeadLetterError::Replay { .. }))); // It is still odd.
    /// # Ok(())
    /// # }
    /// ```
    pub async fn replay(&self, id: DeadLetterId) -> Result<u64, DeadLetterError> {
        let mut scan = self.scan(Self::MOST).await?;
        let letter = loop {
            match scan.next().await? {
                Some((entry, body)) if entry.id() == id => break entry.into_letter(body),
                Some(_) => {}
                None => {
                    let unseen = scan.finish().await;
                    return Err(self.missing(id, unseen));
                }
            }
        };
        let held = scan.finish_except_last().await;
        let replayed = match letter {
            Ok(letter) => replay::run(&self.run_plan, letter).await,
            Err(error) => Err(error),
        };
        held.settle(replayed.is_ok()).await;
        replayed
    }

    /// Deletes a dead letter. Unreadable messages that are equal have the same id and are deleted
    /// together.
    ///
    /// # Errors
    /// If there is no dead letter with this id, or the queue cannot be read completely.
    ///
    /// ```
    /// # use phalanx::{broker::Pool, prelude::*};
    /// # #[operation]
    /// # fn half(n: u64) -> Result<u64> {
    /// #     match n % 2 {
    /// #         0 => Ok(n / 2),
    /// #         _ => Err(OperationError::fatal(format!("{n} is odd"))),
    /// #     }
    /// # }
    /// #
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let dead_letters = runtime.dead_letters(&Pool::default());
    /// # IndexedStream::from([7]).map(Half).collect(&runtime).await.unwrap_err();
    /// # while dead_letters.list(1).await?.is_empty() {
    /// #     tokio::task::yield_now().await; // It is written asynchronously.
    /// # }
    /// let id = dead_letters.list(1).await?[0].id();
    /// dead_letters.delete(id).await?;
    /// assert!(dead_letters.list(1).await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self, id: DeadLetterId) -> Result<(), DeadLetterError> {
        let mut scan = self.scan(Self::MOST).await?;
        let mut deleted = false;
        while let Some((entry, _)) = scan.next().await? {
            if entry.id() == id {
                scan.delete_last();
                deleted = true;
            }
        }
        let unseen = scan.finish().await;
        if deleted { Ok(()) } else { Err(self.missing(id, unseen)) }
    }

    /// Deletes all dead letters, and returns their number.
    ///
    /// # Errors
    /// If the queue cannot be read completely; some dead letters may be deleted nevertheless.
    ///
    /// ```
    /// # use phalanx::{broker::Pool, prelude::*};
    /// # #[operation]
    /// # fn half(n: u64) -> Result<u64> {
    /// #     match n % 2 {
    /// #         0 => Ok(n / 2),
    /// #         _ => Err(OperationError::fatal(format!("{n} is odd"))),
    /// #     }
    /// # }
    /// #
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let dead_letters = runtime.dead_letters(&Pool::default());
    /// # IndexedStream::from([7]).map(Half).collect(&runtime).await.unwrap_err();
    /// # while dead_letters.list(1).await?.is_empty() {
    /// #     tokio::task::yield_now().await; // It is written asynchronously.
    /// # }
    /// assert_eq!(dead_letters.delete_all().await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_all(&self) -> Result<u64, DeadLetterError> {
        let mut deleted = 0;
        loop {
            let mut scan = self.scan(Self::MOST).await?;
            let before = deleted;
            while scan.next().await?.is_some() {
                scan.delete_last();
                deleted += 1;
            }
            let unseen = scan.finish().await;
            if unseen > 0 {
                return Err(DeadLetterError::Unseen { pool: self.pool.clone(), unseen });
            }
            if deleted - before < u64::from(Self::MOST) {
                return Ok(deleted);
            }
        }
    }

    async fn scan(&self, limit: u16) -> Result<Reader, DeadLetterError> {
        Reader::start(Arc::clone(&self.broker), self.pool.clone(), limit).await
    }

    fn missing(&self, id: DeadLetterId, unseen: u16) -> DeadLetterError {
        let pool = self.pool.clone();
        match unseen {
            0 => DeadLetterError::Missing { id, pool },
            unseen => DeadLetterError::Unseen { pool, unseen },
        }
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").field("pool", &self.pool).finish_non_exhaustive()
    }
}
