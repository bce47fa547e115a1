//! Elements that failed permanently: written by leaders, kept by the broker, listed, shown, replayed
//! and deleted by people.

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

/// The elements of a pool that failed for good, and messages of its task queue that nobody could
/// read: kept by the broker, bounded in number, size and age.
///
/// A leader writes a letter about each element that it gives up: the job fails for it, or leaves it
/// out, or is an ordered `take` that ends before it. Failures that `try_map` makes values are none,
/// nor is what a cancelled job leaves behind. Letters are written beside the job, which does not wait
/// for them: within moments over RabbitMQ.
///
/// Nobody else sees the letters while they are looked through. Whoever does so needs the right to
/// read the queue, beside those of a leader.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use phalanx_core::{broker::Pool, leader::Runtime};
///
/// let runtime = Runtime::from_env().await?;
/// let letters = runtime.dead_letters(&Pool::default());
/// for entry in letters.list(100).await? {
///     println!("{entry}");
///     letters.replay(entry.id()).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DeadLetters {
    broker: Arc<dyn Broker>,
    pool: Pool,
    /// Runs the plan of a replay as a job of the runtime that this came from.
    run_plan: RunPlan,
}

impl DeadLetters {
    /// The queue holds no more than this, unless somebody declared it otherwise; what is beyond is
    /// not looked at.
    const MOST: u16 = 10_000;

    pub(crate) fn new(broker: Arc<dyn Broker>, pool: Pool, run_plan: RunPlan) -> Self {
        Self { broker, pool, run_plan }
    }

    /// Whose they are.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Up to `limit` of them, the oldest first.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn list(&self, limit: u16) -> Result<Vec<DeadLetterEntry>, DeadLetterError> {
        let mut scan = self.scan(limit).await?;
        let mut entries = Vec::new();
        while let Some((entry, _)) = scan.next().await? {
            entries.push(entry);
        }
        scan.finish().await;
        Ok(entries)
    }

    /// One of them, with its element.
    ///
    /// # Errors
    /// When there is none of this identity, or the queue cannot be read.
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

    /// Runs what is left of its stage on the element again, and removes the letter when that
    /// succeeds: gives the number of outputs, which go nowhere.
    ///
    /// It is a job of its own, of this runtime and the workers of the pool: made for operations whose
    /// effects matter, and to see whether a mended one works. Stages behind the one that failed do
    /// not run. Nobody else sees the letter meanwhile; dropping the future gives it back. So does the
    /// broker, when it takes longer than its acknowledgement timeout: then the letter stays.
    ///
    /// # Errors
    /// When there is no such letter, it holds no element, or the queue cannot be read. When the
    /// element fails again; the letter then stays as it is.
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
        let held = scan.finish_but_last().await;
        let replayed = match letter {
            Ok(letter) => replay::run(&self.run_plan, letter).await,
            Err(error) => Err(error),
        };
        held.settle(replayed.is_ok()).await;
        replayed
    }

    /// Removes a letter; messages that are alike have one identity, and go together.
    ///
    /// # Errors
    /// When there is no such letter, or not all could be looked at, or the queue cannot be read.
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

    /// Removes all that are there, and says how many.
    ///
    /// # Errors
    /// When not all could be looked at, or the queue cannot be read; some may be gone then.
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
