//! Handles to jobs.

use std::{fmt, sync::Arc};

use tokio::sync::{broadcast, mpsc, watch};

use super::dropped::{DropNotice, Satisfied};
use crate::{
    id::JobId,
    leader::{
        engine::{JobEvent, Progress},
        io::Command,
    },
};

/// A handle to a job, to watch and cancel it.
///
/// Returned by `start`, for example [`IndexedStream::start`](crate::plan::IndexedStream::start).
/// Clones are handles to the same job. The job is cancelled when the last handle and the stream or
/// future of its results are dropped. A job lives with its leader: no other process continues it,
/// and its results cannot be fetched later by its id.
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation]
/// async fn wait(seconds: u64) -> u64 {
///     tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
///     seconds
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// use phalanx::Error;
///
/// let (job, results) = IndexedStream::from([3600, 3600]).map(Wait).start(&runtime)?;
/// job.cancel();
/// let outcome = results.collect().await;
/// assert!(matches!(outcome, Err(Error::Cancelled { job: id }) if id == job.id()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Job {
    inner: Arc<Inner>,
}

struct Inner {
    id: JobId,
    commands: mpsc::UnboundedSender<Command>,
    progress: watch::Receiver<Progress>,
    events: broadcast::Sender<JobEvent>,
    satisfied: Satisfied,
    drop_notice: DropNotice,
}

impl Job {
    pub(super) fn new(
        id: JobId,
        commands: mpsc::UnboundedSender<Command>,
        progress: watch::Receiver<Progress>,
        events: broadcast::Sender<JobEvent>,
        drop_notice: DropNotice,
    ) -> Self {
        let satisfied = Satisfied::default();
        let inner = Inner { id, commands, progress, events, satisfied, drop_notice };
        Self { inner: Arc::new(inner) }
    }

    /// To be set when the program has what it asked for, which can be before the job is over.
    pub(super) fn satisfied(&self) -> Satisfied {
        self.inner.satisfied.clone()
    }

    /// The identity of the job, which logs and errors carry.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// async fn wait(seconds: u64) -> u64 {
    ///     tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    ///     seconds
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let (job, results) = IndexedStream::from([0]).map(Wait).start(&runtime)?;
    /// let (other, more_results) = IndexedStream::from([0]).map(Wait).start(&runtime)?;
    /// assert!(job.id() < other.id()); // Later jobs of a runtime have larger identities.
    /// # drop((results, more_results));
    /// # Ok(())
    /// # }
    /// ```
    pub fn id(&self) -> JobId {
        self.inner.id
    }

    /// The progress of the job: read it at any time, or wait until it changes.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// async fn wait(seconds: u64) -> u64 {
    ///     tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    ///     seconds
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let (job, results) = IndexedStream::from([0, 0, 0]).map(Wait).start(&runtime)?;
    /// let mut progress = job.progress();
    /// let watch = tokio::spawn(async move {
    ///     while !progress.borrow_and_update().ended {
    ///         let done = progress.borrow().done;
    ///         println!("{done} of 3 elements are done");
    ///         if progress.changed().await.is_err() {
    ///             break;
    ///         }
    ///     }
    /// });
    /// let waited = results.collect().await?;
    /// assert_eq!(waited.len(), 3);
    /// watch.await.unwrap();
    /// assert_eq!(job.progress().borrow().total, Some(3));
    /// # Ok(())
    /// # }
    /// ```
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.inner.progress.clone()
    }

    /// The events of the job from now on: failures, retries, returned tasks, stalls and its end.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// fn parse(text: &str) -> Result<u32> {
    ///     Ok(text.parse()?)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let texts = ["1", "two"].map(String::from);
    /// let numbers = IndexedStream::from(texts).map(Parse).on_failure(OnFailure::Skip);
    /// let (job, results) = numbers.start(&runtime)?;
    /// let mut events = job.events();
    /// let numbers = results.collect().await?;
    /// assert_eq!(numbers, [(0, 1)]);
    ///
    /// let mut skipped = Vec::new();
    /// while let Some(event) = events.next().await {
    ///     if let JobEvent::ElementSkipped { index, .. } = event {
    ///         skipped.push(index);
    ///     }
    /// }
    /// assert_eq!(skipped, [1]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self) -> JobEvents {
        JobEvents { receiver: self.inner.events.subscribe(), progress: self.progress() }
    }

    /// Cancels the job; other jobs continue. Does nothing if the job is over.
    ///
    /// Its results end with [`Error::Cancelled`](crate::Error::Cancelled). Workers discard its
    /// queued tasks, and its running operations see
    /// [`TaskContext::is_cancelled`](crate::operation::TaskContext::is_cancelled).
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// async fn wait(seconds: u64) -> u64 {
    ///     tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    ///     seconds
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let (job, count) = IndexedStream::from([3600]).map(Wait).count().start(&runtime)?;
    /// job.cancel();
    /// assert!(matches!(count.await, Err(phalanx::Error::Cancelled { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn cancel(&self) {
        self.inner.satisfied.set();
        self.inner.cancel();
    }
}

impl Inner {
    fn cancel(&self) {
        // If the driver has ended, so has the job.
        let _ = self.commands.send(Command::Cancel { job: self.id });
    }

    /// Whether dropping the job now cancels work that the program may have wanted.
    fn is_wanted(&self) -> bool {
        // If the sender of the progress is gone, so is the leader.
        let is_live = self.progress.has_changed().is_ok() && !self.progress.borrow().ended;
        is_live && !self.satisfied.is_set()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.is_wanted() && !std::thread::panicking() {
            self.drop_notice.tell(self.id, &self.progress.borrow());
        }
        self.cancel();
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("id", &self.inner.id).finish_non_exhaustive()
    }
}

/// The events of a job, from [`Job::events`].
///
/// Up to 256 events are kept until they are read; after that, the oldest are lost.
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation]
/// async fn wait(seconds: u64) -> u64 {
///     tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
///     seconds
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let (job, results) = IndexedStream::from([0]).map(Wait).start(&runtime)?;
/// let mut events = job.events();
/// let _waited = results.collect().await?;
/// let mut last = None;
/// while let Some(event) = events.next().await {
///     last = Some(event);
/// }
/// assert_eq!(last, Some(JobEvent::Ended { error: None }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct JobEvents {
    receiver: broadcast::Receiver<JobEvent>,
    progress: watch::Receiver<Progress>,
}

impl JobEvents {
    /// The number of events that are kept until they are read.
    pub(super) const KEPT: usize = 256;

    /// The next event; `None` when the job is over and all events have been read.
    ///
    /// Cancel-safe: no event is lost when the future is dropped.
    ///
    /// ```
    /// # use phalanx::prelude::*;
    /// #[operation]
    /// async fn wait(seconds: u64) -> u64 {
    ///     tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    ///     seconds
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), phalanx::Error> {
    /// # let runtime = Runtime::connect("memory://").await?;
    /// let (job, results) = IndexedStream::from([0]).map(Wait).start(&runtime)?;
    /// let mut events = job.events();
    /// let log = tokio::spawn(async move {
    ///     let mut lines = Vec::new();
    ///     while let Some(event) = events.next().await {
    ///         lines.push(format!("{event:?}"));
    ///     }
    ///     lines
    /// });
    /// let _waited = results.collect().await?;
    /// assert_eq!(log.await.unwrap().last().unwrap(), "Ended { error: None }");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<JobEvent> {
        loop {
            match self.receiver.try_recv() {
                Ok(event) => return Some(event),
                Err(broadcast::error::TryRecvError::Lagged(_)) => continue,
                Err(broadcast::error::TryRecvError::Closed) => return None,
                Err(broadcast::error::TryRecvError::Empty) => {}
            }
            // The handles of the job keep the channel open, so its end shows in the progress, which
            // changes after the last event was sent.
            if self.progress.borrow().ended {
                return self.receiver.try_recv().ok();
            }
            tokio::select! {
                event = self.receiver.recv() => match event {
                    Ok(event) => return Some(event),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                changed = self.progress.wait_for(|progress| progress.ended) => {
                    if changed.is_err() {
                        return self.receiver.try_recv().ok();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::Notices;

    fn job() -> (Job, watch::Sender<Progress>) {
        let (commands, _) = mpsc::unbounded_channel();
        let (progress, watching) = watch::channel(Progress::default());
        let (events, _) = broadcast::channel(1);
        let notice = DropNotice::new(Notices::new(true));
        (Job::new(JobId::new(), commands, watching, events, notice), progress)
    }

    #[test]
    fn a_job_is_wanted_until_it_ends_is_cancelled_or_has_given_all_that_was_asked_for() {
        let (running, _progress) = job();
        assert!(running.inner.is_wanted());
        let (ended, progress) = job();
        progress.send_replace(Progress { ended: true, ..Progress::default() });
        assert!(!ended.inner.is_wanted());
        let (cancelled, _progress) = job();
        cancelled.cancel();
        assert!(!cancelled.inner.is_wanted());
        let (taken, _progress) = job();
        taken.satisfied().set();
        assert!(!taken.inner.is_wanted());
        let (without_leader, progress) = job();
        drop(progress);
        assert!(!without_leader.inner.is_wanted());
    }
}
