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

use crossbeam_channel::{Receiver, Sender};
use phalanx_core::{id::ExecutionId, paused_clock::Computing};

/// Work for a slot thread, which passes itself.
pub(crate) type SlotTask = Box<dyn FnOnce(&Arc<SlotThread>) + Send>;

/// Work that waits for a slot thread.
struct Queued {
    what: What,
    run: SlotTask,
    /// Dropped when the work is done, also if it never runs.
    computing: Option<Computing>,
}

#[derive(Clone, Copy)]
enum What {
    /// All steps of a task; a drain removes it from the queue.
    Task(ExecutionId),
    /// One step of a task that runs on Tokio.
    Step,
}

/// One slot thread, as seen by the parts that may have to abandon it.
pub(crate) struct SlotThread {
    abandoned: AtomicBool,
    pool: Arc<SlotPool>,
}

/// The threads that compute: always as many as slots, because each abandoned thread is replaced.
pub(crate) struct Slots {
    queue: Sender<Queued>,
    pool: Arc<SlotPool>,
}

/// The counters are read for estimates and limits only, and no other memory access depends on them:
/// relaxed operations suffice.
struct SlotPool {
    queue: Receiver<Queued>,
    size: usize,
    stack: usize,
    busy: AtomicUsize,
    abandoned: AtomicUsize,
    /// How often a thread found the queue empty.
    starvations: AtomicUsize,
    spawned: AtomicUsize,
}

impl Slots {
    /// Starts `size` threads, with a stack of `stack` bytes each and a queue for `capacity` items of
    /// work.
    ///
    /// # Errors
    /// If the operating system creates no threads.
    pub(crate) fn start(size: usize, stack: usize, capacity: usize) -> io::Result<Self> {
        let (sender, queue) = crossbeam_channel::bounded(capacity);
        let pool = Arc::new(SlotPool {
            queue,
            size,
            stack,
            busy: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            starvations: AtomicUsize::new(0),
            spawned: AtomicUsize::new(0),
        });
        check_mappings(size, max_mappings())?;
        for _ in 0..size {
            SlotPool::spawn(&pool)?;
        }
        Ok(Self { queue: sender, pool })
    }

    /// Queues all steps of the execution `id`; `false` when the queue is full. Called in a Tokio
    /// context, as is [`queue_step`](Self::queue_step).
    #[must_use = "a task that is not queued must be returned"]
    pub(crate) fn queue_task(&self, id: ExecutionId, task: SlotTask) -> bool {
        self.queue(What::Task(id), task)
    }

    /// Queues one step of a task that runs on Tokio; `false` when the queue is full.
    #[must_use = "a step that is not queued does not run"]
    pub(crate) fn queue_step(&self, step: SlotTask) -> bool {
        self.queue(What::Step, step)
    }

    fn queue(&self, what: What, run: SlotTask) -> bool {
        self.queue.try_send(Queued { what, run, computing: Computing::begin() }).is_ok()
    }

    /// Removes the tasks that have not begun from the queue.
    pub(crate) fn remove_queued_tasks(&self) -> Vec<ExecutionId> {
        let (mut tasks, mut steps) = (Vec::new(), Vec::new());
        for work in self.pool.queue.try_iter() {
            match work.what {
                What::Task(id) => tasks.push(id),
                What::Step => steps.push(work),
            }
        }
        for step in steps {
            // The queue has room for every step. If the room is taken nevertheless, the step is
            // dropped, and its execution ends as if its thread had been lost.
            let _ = self.queue.try_send(step);
        }
        tasks
    }

    /// Threads that have been abandoned since the start.
    pub(crate) fn abandoned(&self) -> usize {
        self.pool.abandoned.load(Ordering::Relaxed)
    }

    /// How often a thread found the queue empty since the last call.
    pub(crate) fn take_starvations(&self) -> usize {
        self.pool.starvations.swap(0, Ordering::Relaxed)
    }

    fn idle(&self) -> usize {
        self.pool.size.saturating_sub(self.pool.busy.load(Ordering::Relaxed))
    }
}

/// Refuses more threads than the process may have memory mappings for. A thread that is created
/// and then gets no signal stack ends the whole process, and nothing can be done about that.
fn check_mappings(threads: usize, limit: Option<usize>) -> io::Result<()> {
    /// The stack and the signal stack of a thread, each with a guard page.
    const MAPPINGS_OF_THREAD: usize = 4;
    /// For everything else in the process.
    const OTHER_MAPPINGS: usize = 4_096;
    let needed = threads.saturating_mul(MAPPINGS_OF_THREAD).saturating_add(OTHER_MAPPINGS);
    match limit {
        Some(limit) if needed > limit => Err(io::Error::other(format!(
            "{threads} slot threads need about {needed} memory mappings, and the system allows \
             {limit} (vm.max_map_count): use fewer slots; what waits rather than computes needs \
             none if it is asynchronous"
        ))),
        _ => Ok(()),
    }
}

/// The memory mappings that the system allows to a process; `None` if it has no such limit.
fn max_mappings() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

impl SlotPool {
    fn spawn(pool: &Arc<Self>) -> io::Result<()> {
        let number = pool.spawned.fetch_add(1, Ordering::Relaxed);
        let slot =
            Arc::new(SlotThread { abandoned: AtomicBool::new(false), pool: Arc::clone(pool) });
        thread::Builder::new()
            .name(format!("phalanx-slot-{number}"))
            .stack_size(pool.stack)
            .spawn(move || slot.work())
            .map(drop)
    }
}

impl SlotThread {
    /// Works until the queue is closed or the thread is abandoned.
    fn work(self: Arc<Self>) {
        let pool = &self.pool;
        loop {
            let work = match pool.queue.try_recv() {
                Ok(work) => work,
                Err(_) => {
                    pool.starvations.fetch_add(1, Ordering::Relaxed);
                    match pool.queue.recv() {
                        Ok(work) => work,
                        Err(_) => return,
                    }
                }
            };
            pool.busy.fetch_add(1, Ordering::Relaxed);
            // The work handles its own panics; this keeps the thread alive in any case.
            let Queued { run, computing, .. } = work;
            let _ = catch_unwind(AssertUnwindSafe(|| run(&self)));
            // Pairs with the swap in `abandon`. The work has left its execution under the
            // execution's slot lock, and `abandon` is called under the same lock: the flag is
            // final.
            drop(computing);
            if self.abandoned.load(Ordering::Acquire) {
                return;
            }
            pool.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Starts another thread in place of this one, which ends when its work returns, if it ever
    /// does. Called only while the thread works: see `Running::abandon`.
    pub(crate) fn abandon(&self) {
        // The swap lets only one caller count; release orders it before the thread's last load.
        if self.abandoned.swap(true, Ordering::AcqRel) {
            return;
        }
        self.pool.abandoned.fetch_add(1, Ordering::Relaxed);
        self.pool.busy.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = SlotPool::spawn(&self.pool) {
            tracing::error!(%error, "could not replace an abandoned slot thread");
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("size", &self.pool.size)
            .field("idle", &self.idle())
            .field("abandoned", &self.abandoned())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_the_system_has_memory_mappings_for_are_refused() {
        let error = check_mappings(65_535, Some(65_530)).unwrap_err().to_string();
        assert!(error.contains("65535 slot threads") && error.contains("max_map_count"), "{error}");
        for (threads, limit) in [(1_000, Some(65_530)), (65_535, Some(1 << 20)), (65_535, None)] {
            check_mappings(threads, limit).unwrap();
        }
    }
}
