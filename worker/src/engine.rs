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
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Exit, WorkerOptions,
    answer::{Desk, Outgoing, ReturnAddress, Ticket},
    claim::Claim,
    execution::{Pipeline, Report, Running, Setting, Stop, run_async, run_blocking},
    executions::Executions,
    intake::{Pace, Refusing},
    isolation::{Crew, run_isolated},
    leaders::Leaders,
    lent::{Kind, Lent},
    operations::Operations,
    slot::{Slot, Slots, Work},
};

/// What a worker is to others.
pub(crate) enum Role {
    /// One of a fleet.
    Worker,
    /// A child process of `worker`, which speaks for both.
    Child { worker: WorkerId, report: Report },
}

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
    /// Child processes for isolated tasks; `None` where those run like others.
    pub(crate) crew: Option<Arc<Crew>>,
    report: Option<Report>,
    leaders: Mutex<Leaders>,
    desk: Arc<Desk>,
    /// Deliveries that have not been answered.
    pub(crate) open: TaskTracker,
    /// Fires once leaders have had the time to say which jobs are dead.
    pub(crate) listened: CancellationToken,
    /// Tells who listens again, after an interruption, that a leader was heard.
    pub(crate) heard: Notify,
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
        role: Role,
    ) -> io::Result<(Arc<Self>, mpsc::UnboundedReceiver<Outgoing>)> {
        let (worker, report) = match role {
            Role::Worker => (WorkerId::new(), None),
            Role::Child { worker, report } => (worker, Some(report)),
        };
        let contains = options.isolate && report.is_none();
        let (desk, outgoing) = Desk::new(worker);
        // What all pools may hold, twice because some brokers count anew when the prefetch
        // changes, and one hop of each asynchronous execution.
        let held = options.pools.len() * Pace::most(options.slots, options.async_slots);
        let room = 2 * held + options.async_slots;
        let engine = Self {
            worker,
            slots: Slots::start(options.slots, room)?,
            async_slots: Arc::new(Semaphore::new(options.async_slots)),
            crew: contains.then(|| Arc::new(Crew::new(worker))),
            report,
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
            heard: Notify::new(),
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

    /// Counts connections.
    pub(crate) fn generation(&self) -> u64 {
        self.broker.health().borrow().generation
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

    /// Whether it is a child process: its parent sees to deliveries, and to who else may run a task.
    pub(crate) fn is_child(&self) -> bool {
        self.report.is_some()
    }

    /// Runs a task: on a slot thread in its turn, or on tokio when it waits more than it computes.
    pub(crate) fn run(
        self: &Arc<Self>,
        task: TaskMessage,
        pipeline: Arc<Pipeline>,
        ticket: Ticket,
    ) {
        let kind = pipeline.kind();
        let Some(running) = self.admit(task, pipeline, kind, ticket) else { return };
        match kind {
            Kind::Asynchronous => drop(tokio::spawn(Arc::clone(self).run_async(running))),
            Kind::Blocking => self.queue(running, run_blocking),
        }
    }

    /// Runs a task in a child process; a slot thread waits for it.
    pub(crate) fn run_isolated(
        self: &Arc<Self>,
        task: TaskMessage,
        crew: &Arc<Crew>,
        ticket: Ticket,
    ) {
        // Not even its steps are bound here: that is somebody's code too.
        let pipeline = Arc::new(Pipeline::default());
        let running = self.admit(task, pipeline, Kind::Blocking, ticket);
        let crew = Arc::clone(crew);
        if let Some(running) = running {
            self.queue(running, move |its| run_isolated(its, &crew));
        }
    }

    /// From now on it is held here. Where all of its kind is lent it would wait for hours, and goes
    /// back at once.
    fn admit(
        &self,
        task: TaskMessage,
        pipeline: Arc<Pipeline>,
        kind: Kind,
        ticket: Ticket,
    ) -> Option<Arc<Running>> {
        if self.lent.is_all(kind) {
            ticket.postpone();
            return None;
        }
        let setting = Setting { worker: self.worker, kind, report: self.report.clone() };
        let running = Running::new(task, pipeline, setting, ticket);
        self.executions.insert(&running);
        Some(running)
    }

    /// Queues a task for a slot thread, which will `run` it.
    fn queue(self: &Arc<Self>, running: Arc<Running>, run: impl FnOnce(&Running) + Send + 'static) {
        let (engine, its) = (Arc::clone(self), Arc::clone(&running));
        let job = Box::new(move |slot: &Arc<Slot>| {
            if engine.begin(&its) {
                let started = Instant::now();
                its.enter(slot);
                run(&its);
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
