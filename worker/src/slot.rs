//! The threads that compute.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::oneshot;

use crate::execution::Running;

/// What a slot thread is to do; it is told which one it is.
pub(crate) type Job = Box<dyn FnOnce(&Arc<Slot>) + Send>;

/// What waits for a slot thread.
pub(crate) enum Work {
    /// All steps of a task; a drain takes it back.
    Task(Arc<Running>, Job),
    /// One step of a stage that runs on tokio.
    Hop(Job),
}

/// One slot thread, as those see it who may have to give it up.
pub(crate) struct Slot {
    abandoned: AtomicBool,
    shared: Arc<Shared>,
}

/// The threads that compute: as many as slots, whatever happens to them.
pub(crate) struct Slots {
    queue: Sender<Work>,
    shared: Arc<Shared>,
}

struct Shared {
    waiting: Receiver<Work>,
    size: usize,
    busy: AtomicUsize,
    abandoned: AtomicUsize,
    /// How often a thread found nothing to do after it had done something.
    starved: AtomicUsize,
    spawned: AtomicUsize,
}

impl Slots {
    /// Starts `size` threads; the queue before them takes `queue` pieces of work.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub(crate) fn start(size: usize, queue: usize) -> io::Result<Self> {
        let (sender, waiting) = crossbeam_channel::bounded(queue);
        let shared = Arc::new(Shared {
            waiting,
            size,
            busy: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            starved: AtomicUsize::new(0),
            spawned: AtomicUsize::new(0),
        });
        for _ in 0..size {
            Shared::spawn(&shared)?;
        }
        Ok(Self { queue: sender, shared })
    }

    /// Queues `run` for a task; gives the work back when the queue is full.
    pub(crate) fn submit(&self, work: Work) -> Result<(), Work> {
        self.queue.try_send(work).map_err(TrySendError::into_inner)
    }

    /// Runs one step of `running` on a slot thread; `None` when the step panicked through or its
    /// thread was abandoned.
    pub(crate) async fn hop<R: Send + 'static>(
        &self,
        running: &Arc<Running>,
        step: impl FnOnce() -> R + Send + 'static,
    ) -> Option<R> {
        let (done, result) = oneshot::channel();
        let running = Arc::clone(running);
        let work: Job = Box::new(move |slot| {
            running.enter(slot);
            let result = catch_unwind(AssertUnwindSafe(step));
            running.leave();
            if let Ok(result) = result {
                let _ = done.send(result);
            }
        });
        // The queue has room for one hop of each asynchronous execution.
        self.submit(Work::Hop(work)).ok()?;
        result.await.ok()
    }

    /// Takes the tasks back that have not been begun.
    pub(crate) fn take_back(&self) -> Vec<Arc<Running>> {
        let (mut tasks, mut hops) = (Vec::new(), Vec::new());
        for work in self.shared.waiting.try_iter() {
            match work {
                Work::Task(running, _) => tasks.push(running),
                hop @ Work::Hop(_) => hops.push(hop),
            }
        }
        for hop in hops {
            // Room was made just now; should others have taken it, dropping the hop ends its
            // execution as if its thread had been lost.
            let _ = self.submit(hop);
        }
        tasks
    }

    /// Slots with nothing to do.
    pub(crate) fn free(&self) -> usize {
        self.shared.size.saturating_sub(self.shared.busy.load(Ordering::Relaxed))
    }

    /// How many threads have been given up.
    pub(crate) fn abandoned(&self) -> usize {
        self.shared.abandoned.load(Ordering::Relaxed)
    }

    /// How often a thread had nothing to do since this was asked last.
    pub(crate) fn take_starved(&self) -> usize {
        self.shared.starved.swap(0, Ordering::Relaxed)
    }
}

impl Shared {
    fn spawn(shared: &Arc<Self>) -> io::Result<()> {
        let number = shared.spawned.fetch_add(1, Ordering::Relaxed);
        let slot = Arc::new(Slot { abandoned: AtomicBool::new(false), shared: Arc::clone(shared) });
        thread::Builder::new()
            .name(format!("phalanx-slot-{number}"))
            .spawn(move || slot.serve())
            .map(drop)
    }
}

impl Slot {
    /// Works until the queue is closed or it is abandoned.
    fn serve(self: Arc<Self>) {
        let shared = &self.shared;
        loop {
            let work = match shared.waiting.try_recv() {
                Ok(work) => work,
                Err(_) => {
                    shared.starved.fetch_add(1, Ordering::Relaxed);
                    match shared.waiting.recv() {
                        Ok(work) => work,
                        Err(_) => return,
                    }
                }
            };
            shared.busy.fetch_add(1, Ordering::Relaxed);
            // Work answers for its own panics; this keeps the thread alive, come what may.
            let (Work::Task(_, job) | Work::Hop(job)) = work;
            let _ = catch_unwind(AssertUnwindSafe(|| job(&self)));
            if self.abandoned.load(Ordering::Acquire) {
                return;
            }
            shared.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Gives the thread up, and starts another in its place: it ends when its work does, if ever.
    /// Only while it works: see [`Running::abandon`].
    pub(crate) fn abandon(&self) {
        if self.abandoned.swap(true, Ordering::AcqRel) {
            return;
        }
        self.shared.abandoned.fetch_add(1, Ordering::Relaxed);
        self.shared.busy.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = Shared::spawn(&self.shared) {
            tracing::error!(%error, "no thread to replace one that was given up");
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("size", &self.shared.size)
            .field("free", &self.free())
            .field("abandoned", &self.abandoned())
            .finish_non_exhaustive()
    }
}
