//! What all parts of one worker share.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use phalanx_core::{
    broker::{Broker, Delivery},
    id::WorkerId,
    wire::{ReturnReason, TaskMessage},
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Exit, WorkerOptions,
    answer::{Desk, Outgoing, ReturnAddress, Ticket},
    claim::Claim,
    execution::{Pipeline, Running, Stop, run_async, run_blocking},
    executions::Executions,
    intake::{Pace, Refusing},
    leaders::Leaders,
    lent::{Kind, Lent},
    operations::Operations,
    slot::{Slot, Slots, Work},
};

/// What all parts of one worker share.
pub(crate) struct Engine {
    pub(crate) worker: WorkerId,
    pub(crate) options: WorkerOptions,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) operations: Operations,
    pub(crate) slots: Slots,
    pub(crate) async_slots: Arc<Semaphore>,
    pub(crate) executions: Executions,
    pub(crate) lent: Lent,
    /// Tasks that run on tokio.
    pub(crate) running_async: AtomicUsize,
    leaders: Mutex<Leaders>,
    desk: Arc<Desk>,
    /// Deliveries that have not been answered.
    pub(crate) open: TaskTracker,
    /// Fires once leaders have had the time to say which jobs are dead.
    pub(crate) listened: CancellationToken,
    /// Fires when no more tasks are to be taken.
    pub(crate) draining: CancellationToken,
    /// Fires when everything is to end now.
    pub(crate) stopping: CancellationToken,
    why: OnceLock<Exit>,
    /// Pools that are consumed from.
    attached: AtomicUsize,
}

impl Engine {
    /// # Errors
    /// When the system gives no threads.
    pub(crate) fn new(
        broker: Arc<dyn Broker>,
        options: WorkerOptions,
        operations: Operations,
    ) -> io::Result<(Arc<Self>, mpsc::UnboundedReceiver<Outgoing>)> {
        let worker = WorkerId::new();
        let (desk, outgoing) = Desk::new(worker);
        // What all pools may hold, twice because some brokers count anew when the prefetch
        // changes, and one hop of each asynchronous execution.
        let held = options.pools.len() * Pace::most(options.slots, options.async_slots);
        let room = 2 * held + options.async_slots;
        let engine = Self {
            worker,
            slots: Slots::start(options.slots, room)?,
            async_slots: Arc::new(Semaphore::new(options.async_slots)),
            lent: Lent::new(options.slots, options.async_slots),
            options,
            broker,
            operations,
            executions: Executions::default(),
            running_async: AtomicUsize::new(0),
            leaders: Mutex::default(),
            desk,
            open: TaskTracker::new(),
            listened: CancellationToken::new(),
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
            why: OnceLock::new(),
            attached: AtomicUsize::new(0),
        };
        Ok((Arc::new(engine), outgoing))
    }

    /// Takes no more tasks from now on; the first reason is the one that counts.
    pub(crate) fn drain(&self, why: Exit) {
        let _ = self.why.set(why);
        self.draining.cancel();
    }

    /// Ends now.
    pub(crate) fn stop(&self) {
        let _ = self.why.set(Exit::Stopped);
        self.stopping.cancel();
        self.draining.cancel();
    }

    pub(crate) fn exit(&self) -> Exit {
        self.why.get().cloned().unwrap_or(Exit::Drained)
    }

    pub(crate) fn leaders(&self) -> MutexGuard<'_, Leaders> {
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn attach(&self) {
        self.attached.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn detach(&self) {
        self.attached.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether it takes tasks of all its pools.
    pub(crate) fn is_ready(&self) -> bool {
        self.attached.load(Ordering::Relaxed) == self.options.pools.len()
            && !self.draining.is_cancelled()
            && self.broker.health().borrow().connected
    }

    /// A delivery that must be answered.
    pub(crate) fn ticket(
        &self,
        delivery: Delivery,
        address: ReturnAddress,
        refusing: &Arc<Refusing>,
    ) -> Ticket {
        let desk = Arc::clone(&self.desk);
        let refusing = Arc::clone(refusing);
        let claim = Arc::new(Claim::new(delivery));
        Ticket { claim, address, desk, refusing, open: self.open.token() }
    }

    /// Runs a task: on a slot thread in its turn, or on tokio when it waits more than it computes.
    /// Where all of that is lent it would wait for hours, and goes back at once.
    pub(crate) fn run(
        self: &Arc<Self>,
        task: TaskMessage,
        pipeline: Arc<Pipeline>,
        ticket: Ticket,
    ) {
        let kind = pipeline.kind();
        if self.lent.is_all(kind) {
            return ticket.postpone();
        }
        let running = Running::new(task, pipeline, self.worker, ticket);
        self.executions.insert(&running);
        if kind == Kind::Asynchronous {
            tokio::spawn(Arc::clone(self).run_async(running));
            return;
        }
        let (engine, its) = (Arc::clone(self), Arc::clone(&running));
        let job = Box::new(move |slot: &Arc<Slot>| {
            if engine.begin(&its) {
                let started = Instant::now();
                its.enter(slot);
                run_blocking(&its);
                its.leave();
                engine.executions.learn(started.elapsed());
            }
            engine.executions.remove(&its);
        });
        if let Err(Work::Task(running, _)) = self.slots.submit(Work::Task(running, job)) {
            self.give_back(&running, ReturnReason::NotStarted);
        }
    }

    async fn run_async(self: Arc<Self>, running: Arc<Running>) {
        let permit = tokio::select! {
            biased;
            // Handed back meanwhile: nothing is left to do.
            () = running.taken.cancelled() => None,
            () = self.draining.cancelled() => None,
            permit = Arc::clone(&self.async_slots).acquire_owned() => permit.ok(),
        };
        let Some(permit) = permit else {
            return self.give_back(&running, ReturnReason::Draining);
        };
        if !self.begin(&running) {
            return self.executions.remove(&running);
        }
        // Half of what is free at most, so that the next task finds something too.
        let free = self.async_slots.available_permits() / 2;
        let more = (running.count() as usize).saturating_sub(1).min(free) as u32;
        let more = Arc::clone(&self.async_slots).try_acquire_many_owned(more).ok();
        let concurrency = 1 + more.as_ref().map_or(0, |more| more.num_permits());
        running.set_width(concurrency);
        self.running_async.fetch_add(1, Ordering::Relaxed);
        run_async(&running, &self.slots, concurrency).await;
        self.running_async.fetch_sub(1, Ordering::Relaxed);
        self.executions.remove(&running);
        drop((permit, more));
    }

    /// Whether an execution may begin; what may not is settled.
    fn begin(&self, running: &Arc<Running>) -> bool {
        // It is in the table: a cancel that comes after this look finds it there.
        let header = &running.task.header;
        if self.leaders().is_dead(header.leader, header.job) {
            if let Some(ticket) = running.hand_back() {
                ticket.forget();
            }
        } else if self.draining.is_cancelled() {
            self.give_back(running, ReturnReason::Draining);
        } else if running.claim_start() {
            self.executions.begins(running);
            return true;
        }
        false
    }

    /// Answers a task that has not begun; one that has goes on.
    pub(crate) fn give_back(&self, running: &Running, why: ReturnReason) {
        if let Some(ticket) = running.hand_back() {
            ticket.give_back(why, None);
            self.executions.remove(running);
        }
    }

    /// Ends what runs, at its next chunk.
    pub(crate) fn stop_all(&self) {
        for running in self.executions.all() {
            running.stop(Stop::Draining);
        }
    }
}
