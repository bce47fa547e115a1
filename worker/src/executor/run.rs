//! Admits tasks, runs them on slots, and returns those that do not begin in time.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use phalanx_core::wire::{ReturnReason, TaskMessage};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Executions;
use crate::{
    execution::{ExecutionConfig, Pipeline, Running, Stop, run_async, run_blocking},
    gathering::GatherMemory,
    isolation::{ChildPool, run_isolated, run_isolated_async},
    leaders::Leaders,
    process_kind::ChunkReporter,
    reply::{BlockPublisher, PendingReply},
    shared::Shared,
    slots::{LeasedSlots, SlotKind, SlotTask, SlotThread, Slots},
};

/// Runs tasks on the slots of one worker, and owns all tasks that the worker holds.
pub(crate) struct Executor {
    pub(super) shared: Arc<Shared>,
    leaders: Arc<Leaders>,
    slots: Slots,
    async_slots: Arc<Semaphore>,
    /// Taken by an isolated task that runs in this process: one at a time, so that only one element
    /// is named when this process dies.
    in_process: Arc<Semaphore>,
    /// Executions that run on Tokio. Relaxed: only the prefetch controller reads it.
    running_async: AtomicUsize,
    pub(super) executions: Executions,
    leased: LeasedSlots,
    /// Publishes what goes through queues; `None` in a child process, whose parent does that.
    publisher: Option<Arc<BlockPublisher>>,
    /// Bounds what is gathered from queues.
    pub(super) memory: GatherMemory,
    /// The child processes for isolated tasks; `None` if those run like all others.
    children: Option<Arc<ChildPool>>,
}

impl Executor {
    /// Starts the slot threads, with room for `max_queued` waiting tasks and steps.
    ///
    /// # Errors
    /// If the operating system creates no threads.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        leaders: &Arc<Leaders>,
        max_queued: usize,
    ) -> io::Result<Arc<Self>> {
        let options = shared.options();
        let isolates = options.isolate && !shared.is_child();
        let publisher = (!shared.is_child())
            .then(|| Arc::new(BlockPublisher::new(shared.broker().clone(), Arc::clone(leaders))));
        Ok(Arc::new(Self {
            publisher,
            slots: Slots::start(options.slots, options.stack, max_queued)?,
            async_slots: Arc::new(Semaphore::new(options.async_slots)),
            in_process: Arc::new(Semaphore::new(1)),
            running_async: AtomicUsize::new(0),
            executions: Executions::default(),
            memory: GatherMemory::new(
                options.gather_memory,
                options.slots,
                options.spill_dir.clone(),
            ),
            leased: LeasedSlots::new(options.slots, options.async_slots),
            children: isolates.then(|| Arc::new(ChildPool::new(shared.worker(), options))),
            shared: Arc::clone(shared),
            leaders: Arc::clone(leaders),
        }))
    }

    pub(crate) fn executions(&self) -> &Executions {
        &self.executions
    }

    pub(crate) fn leased(&self) -> &LeasedSlots {
        &self.leased
    }

    /// The child processes for isolated tasks; `None` if those run like all others.
    pub(crate) fn children(&self) -> Option<&Arc<ChildPool>> {
        self.children.as_ref()
    }

    /// The number of executions that run on Tokio.
    pub(crate) fn running_async(&self) -> usize {
        self.running_async.load(Ordering::Relaxed)
    }

    /// Whether a slot thread was idle since the last call.
    pub(crate) fn take_starved(&self) -> bool {
        self.slots.take_starvations() > 0
    }

    /// The number of slot threads that have been abandoned.
    pub(crate) fn abandoned_threads(&self) -> usize {
        self.slots.abandoned()
    }

    /// Runs a task: in its turn on a slot thread, or on Tokio if a step is asynchronous.
    pub(crate) fn run(
        self: &Arc<Self>,
        task: TaskMessage,
        pipeline: Arc<Pipeline>,
        pending: PendingReply,
    ) {
        let config = self.config(pipeline.kind(), self.shared.reporter(&task.header));
        let Some(running) = self.admit(task, pipeline, config, pending) else { return };
        self.gather_then(running, |executor, running| executor.start_running(running, None));
    }

    /// Runs an isolated task in this process, after all others of this kind. `name` is told each
    /// element before it begins.
    pub(crate) fn run_in_process(
        self: &Arc<Self>,
        task: TaskMessage,
        pipeline: Arc<Pipeline>,
        name: ChunkReporter,
        pending: PendingReply,
    ) {
        let config = self.config(pipeline.kind(), Some(name));
        let Some(running) = self.admit(task, pipeline, config, pending) else { return };
        self.gather_then(running, |executor, running| {
            tokio::spawn(executor.take_turn(running));
        });
    }

    /// Starts an isolated task that runs in this process when no other one does.
    async fn take_turn(self: Arc<Self>, running: Arc<Running>) {
        // Cancel-safe: a permit that is not taken stays in the semaphore.
        let turn = tokio::select! {
            biased;
            // Returned meanwhile.
            () = running.replied.cancelled() => None,
            () = self.shared.shutdown().draining() => None,
            turn = Arc::clone(&self.in_process).acquire_owned() => turn.ok(),
        };
        match turn {
            Some(turn) => self.start_running(running, Some(turn)),
            None => self.return_unrun(&running, ReturnReason::Draining),
        }
    }

    /// Runs an admitted task, which holds `turn` until it ends.
    fn start_running(self: &Arc<Self>, running: Arc<Running>, turn: Option<OwnedSemaphorePermit>) {
        match running.kind {
            SlotKind::Asynchronous => {
                let executor = Arc::clone(self);
                tokio::spawn(async move {
                    executor.run_async(running, None).await;
                    drop(turn);
                });
            }
            SlotKind::Blocking => self.queue(&running, move |running| {
                run_blocking(running);
                drop(turn);
            }),
        }
    }

    /// Runs a task in a child process. It takes the slots that it would take in this one: a thread
    /// that waits for the child, or asynchronous slots.
    pub(crate) fn run_isolated(
        self: &Arc<Self>,
        task: TaskMessage,
        kind: SlotKind,
        children: &Arc<ChildPool>,
        pending: PendingReply,
    ) {
        // Only the child binds the steps to their states: that is user code, too.
        let pipeline = Arc::new(Pipeline::default());
        let config = self.config(kind, None);
        let Some(running) = self.admit(task, pipeline, config, pending) else { return };
        let children = Arc::clone(children);
        self.gather_then(running, move |executor, running| match kind {
            SlotKind::Blocking => {
                executor.queue(&running, move |running| run_isolated(running, &children));
            }
            SlotKind::Asynchronous => {
                tokio::spawn(executor.run_async(running, Some(children)));
            }
        });
    }

    fn config(&self, kind: SlotKind, reporter: Option<ChunkReporter>) -> ExecutionConfig {
        let publisher = self.publisher.clone();
        ExecutionConfig { worker: self.shared.worker(), kind, reporter, publisher }
    }

    /// Adds a task to those that the worker holds, or returns it if all slots of its kind are
    /// leased: it could wait for hours.
    fn admit(
        &self,
        task: TaskMessage,
        pipeline: Arc<Pipeline>,
        config: ExecutionConfig,
        pending: PendingReply,
    ) -> Option<Arc<Running>> {
        if self.leased.is_exhausted(config.kind) {
            pending.return_and_back_off();
            return None;
        }
        let running = Running::new(task, pipeline, config, pending);
        self.executions.insert(&running);
        Some(running)
    }

    /// Queues an execution for a slot thread, which calls `run`.
    fn queue(
        self: &Arc<Self>,
        running: &Arc<Running>,
        run: impl FnOnce(&Running) + Send + 'static,
    ) {
        // Weak: one that is returned while it waits must let go of what it has gathered, and its
        // turn may be hours away.
        let (executor, queued) = (Arc::clone(self), Arc::downgrade(running));
        let task: SlotTask = Box::new(move |slot: &Arc<SlotThread>| {
            let Some(queued) = queued.upgrade() else { return };
            if executor.begin(&queued) {
                let started = Instant::now();
                queued.enter(slot);
                run(&queued);
                queued.leave();
                executor.executions.record_run_time(started.elapsed());
            }
            executor.executions.remove(&queued);
        });
        if !self.slots.queue_task(running.id(), task) {
            self.return_unrun(running, ReturnReason::NotStarted);
        }
    }

    /// Runs an execution on Tokio, or in a child process.
    async fn run_async(self: Arc<Self>, running: Arc<Running>, children: Option<Arc<ChildPool>>) {
        // Cancel-safe: a permit that is not taken stays in the semaphore.
        let permit = tokio::select! {
            biased;
            // Returned meanwhile.
            () = running.replied.cancelled() => None,
            () = self.shared.shutdown().draining() => None,
            permit = Arc::clone(&self.async_slots).acquire_owned() => permit.ok(),
        };
        let Some(permit) = permit else {
            return self.return_unrun(&running, ReturnReason::Draining);
        };
        if !self.begin(&running) {
            return self.executions.remove(&running);
        }
        // At most half of the free slots, so that some remain for the next task.
        let free = self.async_slots.available_permits() / 2;
        let more = running.widest().saturating_sub(1).min(free) as u32;
        let more = Arc::clone(&self.async_slots).try_acquire_many_owned(more).ok();
        let concurrency = 1 + more.as_ref().map_or(0, |more| more.num_permits());
        running.set_width(concurrency);
        self.running_async.fetch_add(1, Ordering::Relaxed);
        match children {
            None => run_async(&running, &self.slots, concurrency).await,
            Some(children) => run_isolated_async(&running, &children).await,
        }
        self.running_async.fetch_sub(1, Ordering::Relaxed);
        self.executions.remove(&running);
        drop((permit, more));
    }

    /// Whether an execution may begin; if not, its delivery is settled.
    fn begin(&self, running: &Arc<Running>) -> bool {
        // The execution is in the table: a cancel that arrives after this check finds it there.
        let header = &running.task.header;
        if self.leaders.is_dead(header.leader, header.job) {
            if let Some(pending) = running.take_unbegun() {
                pending.discard();
            }
        } else if self.shared.shutdown().is_draining() {
            self.return_unrun(running, ReturnReason::Draining);
        } else if running.try_begin() {
            self.executions.begun(running);
            return true;
        }
        false
    }

    /// Returns a task that has not begun; one that has begun continues.
    pub(crate) fn return_unrun(&self, running: &Running, reason: ReturnReason) {
        if let Some(pending) = running.take_unbegun() {
            pending.return_unrun(reason, None);
            self.executions.remove(running);
        }
    }

    /// Returns the tasks that wait for a slot thread.
    pub(crate) fn return_queued(&self, reason: &ReturnReason) {
        for id in self.slots.remove_queued_tasks() {
            if let Some(running) = self.executions.get(id) {
                self.return_unrun(&running, reason.clone());
            }
        }
    }

    /// Ends all executions at their next chunk.
    pub(crate) fn stop_all(&self) {
        for running in self.executions.all() {
            running.stop(Stop::Draining);
        }
    }

    /// Replies on behalf of all executions that have not ended, and abandons their threads.
    pub(crate) fn abandon_all(&self) {
        for running in self.executions.all() {
            running.abandon();
        }
    }

    /// Drops the tasks that have not begun, so that the broker requeues their deliveries.
    pub(crate) fn drop_unbegun(&self) {
        self.slots.remove_queued_tasks();
        for running in self.executions.all() {
            drop(running.take_unbegun());
        }
    }
}
