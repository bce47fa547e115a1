//! The engine of a leader: all decisions about jobs, as a state machine without clock and I/O.
//!
//! [`Engine::step`] takes one [`Input`] and returns the [`Action`]s that follow from it. Every
//! decision that makes an element count exactly once is made here. `docs/protocol.md` describes the
//! protocol and has the numbered rules that comments cite.
//!
//! Each part of the state has one owner: [`table`] owns the tasks and their copies, [`job`] the
//! jobs and the bytes that they hold, [`flow`] the credit, [`probe`] the probes. The other modules
//! are functions over these owners. They call each other in one direction, each only modules of
//! lower lines:
//!
//! ```text
//! reply, publish, lease, loss, liveness    inputs, and the passage of time
//! spread                                   exchanges whose blocks go through queues
//! output_queues                            outputs that go through queues
//! gone                                     a copy that will bring no reply
//! combine                                  partial results of folds
//! element                                  elements that failed
//! output, split, dead_letter               outputs; parts of a batch; dead letters
//! schedule, stall                          tasks to send; why there is no progress
//! blame, retried, retry                    names for errors; budgets and back-offs
//! ```
//!
//! After each input, [`advance`] ends the job if it is over, and [`dispatch`] publishes tasks and
//! pulls input as the credit allows.

mod advance;
mod blame;
#[cfg(test)]
mod checks;
mod combine;
mod dead_letter;
mod dispatch;
mod element;
mod ending;
mod event;
#[cfg(test)]
mod explorer;
mod flow;
mod fold;
mod gone;
mod groups;
mod job;
mod lease;
mod liveness;
mod loss;
mod output;
mod output_queues;
mod probe;
mod protocol;
mod publish;
mod refusals;
mod reply;
mod retried;
mod retry;
#[cfg(test)]
mod scenarios;
mod schedule;
mod shared;
mod split;
mod spread;
mod stall;
mod table;

use std::{sync::Arc, time::Duration};

pub(super) use ending::Ending;
pub use event::{ExchangeProgress, JobEvent, Progress, StageProgress, Stall};
pub(super) use flow::{LatencyTarget, MAX_BLOCKS, output_cap};
#[cfg(test)]
pub(super) use job::Indexes;
pub(super) use job::OutputBlock;
pub(super) use protocol::{Action, DeadLettering, Input, OutputsError, Pull};
pub(super) use shared::Settings;

use job::{Elements, JobState, Jobs};
use shared::Shared;

use crate::{
    error::Error,
    id::{CopyId, JobId},
    plan::{Block, Plan},
    report::with_causes,
    wire::Lease,
};

/// The state of one leader: its jobs, and all that they share.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    jobs: Jobs,
    shared: Shared,
}

impl Engine {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { jobs: Jobs::default(), shared: Shared::new(settings) }
    }

    /// Processes an input, and returns the actions that follow from it, in order.
    pub(crate) fn step(&mut self, input: Input) -> Vec<Action> {
        // A confirm returns no credit: it allows no further task.
        let dispatches = !matches!(input, Input::Published { .. });
        let shared = &mut self.shared;
        match input {
            Input::Start { job, plan, hints, dead_lettering } => {
                self.start(job, plan, &hints, dead_lettering);
            }
            Input::Pulled { job, source, block, progress } => {
                self.pulled(job, source, block, progress);
            }
            Input::Published { copy } => publish::confirmed(shared, copy),
            Input::NotPublished { copy, error } => {
                self.on_copy(copy, |shared, job| publish::failed(shared, job, copy, &error));
            }
            Input::Result(result) => {
                let header = &result.header;
                let (copy, worker, execution) = (header.copy, header.worker, header.execution);
                if header.leader == shared.settings.leader {
                    tracing::trace!(%copy, %worker, %execution, "result");
                    self.on_copy(copy, |shared, job| reply::result(shared, job, result));
                } else {
                    // Task numbers of two leaders may be equal, so its number means nothing here.
                    let leader = header.leader;
                    tracing::warn!(%leader, %copy, %worker, %execution, "result for another leader");
                }
            }
            // The worker that held a probe died: the probe will not come back.
            Input::Return(returned) => match returned.copy {
                None => shared.probes.forget_in_flight(),
                Some(copy) => {
                    self.on_copy(copy, |shared, job| reply::returned(shared, job, copy, returned));
                }
            },
            Input::UndecodableReply { copy, reason } => {
                let reason = format!("the reply of a worker does not decode: {reason}");
                self.on_copy(copy, |shared, job| {
                    gone::reissue_suspected(shared, job, copy, &reason);
                });
            }
            Input::Taken { job, bytes } => self.taken(job, bytes),
            Input::Cancel { job } => self.end(job, Err(Error::Cancelled { job })),
            Input::Hello(presence) => {
                // The worker takes no task before a leader has greeted it, or a second has passed.
                // If the broker accepts no messages, the next heartbeat greets it.
                if shared.health.is_well() {
                    shared.actions.push(Action::Greet { worker: presence.worker });
                }
                shared.workers.record(*presence, shared.clocks.healthy);
            }
            Input::Presence(presence) => {
                refusals::listed(&mut self.jobs, &presence);
                shared.workers.record(*presence, shared.clocks.healthy);
            }
            Input::Bye(worker) => shared.workers.bye(worker),
            Input::Close(ending) => {
                let jobs: Vec<JobId> = self.jobs.ids().collect();
                jobs.into_iter().for_each(|job| self.end(job, Err(ending.clone().into())));
            }
            Input::Lease(lease) => self.leased(&lease),
            Input::Probed { pool, result } => loss::probed(shared, pool, result),
            Input::ProbeReply(reply) => loss::probe_returned(shared, &reply),
            Input::Declared { pool, result } => loss::declared(shared, &pool, result),
            Input::Managed { job, action, outcomes } => {
                self.on_job(job, |shared, job| spread::managed(shared, job, action, outcomes));
            }
            Input::BlockPublished { job, exchange, bytes, result } => {
                self.on_job(job, |_, job| {
                    spread::published(job, exchange as usize, bytes, result);
                });
            }
            Input::OutputsRead { job, task, block } => {
                self.on_job(job, |shared, job| output_queues::read(shared, job, task, block));
            }
            Input::Interrupted => {
                loss::interrupted(shared);
                spread::interrupted(&mut self.jobs);
            }
            Input::Health(health) => shared.health = health,
            Input::Tick { elapsed, unread } => self.tick(elapsed, unread),
        }
        if dispatches {
            let failed = dispatch::dispatch(&mut self.shared, &mut self.jobs);
            failed.into_iter().for_each(|job| self.advance(job));
        }
        self.shared.actions.take()
    }

    /// Learns, before a [`step`](Self::step) with this input, which of its jobs have somebody who
    /// reads their events: some names in events cost a look into the blocks of an exchange.
    pub(crate) fn watch(&mut self, input: &Input, is_watched: impl Fn(JobId) -> bool) {
        let copy = match input {
            Input::Result(result) => Some(result.header.copy),
            Input::Return(returned) => returned.copy,
            _ => None,
        };
        let jobs: Vec<JobId> = match (copy, input) {
            (Some(copy), _) => {
                self.shared.tasks.get(copy.task).map(|task| task.job).into_iter().collect()
            }
            (None, Input::Tick { .. }) => self.jobs.ids().collect(),
            (None, _) => return,
        };
        for id in jobs {
            if let Some(job) = self.jobs.get_mut(id) {
                job.is_watched = is_watched(id);
            }
        }
    }

    /// The ids of the jobs that are not over.
    pub(crate) fn live_jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.ids()
    }

    /// Whether workers are to list their operations (rule 10).
    pub(crate) fn asks_for_operations(&self) -> bool {
        refusals::are_open(&self.jobs)
    }

    /// The progress of each job that has changed since the last call and is not over.
    pub(crate) fn take_progress(&mut self) -> Vec<(JobId, Progress)> {
        std::mem::take(&mut self.shared.touched)
            .into_iter()
            .filter_map(|id| self.jobs.get(id).map(|job| (id, job.progress())))
            .collect()
    }

    fn start(
        &mut self,
        id: JobId,
        plan: Arc<Plan>,
        hints: &[Option<u64>],
        dead_lettering: DeadLettering,
    ) {
        let elements = hints.iter().copied().sum();
        let started = JobEvent::Started { stages: plan.stages.len(), elements };
        let now = self.shared.clocks.wall;
        self.jobs.insert(JobState::new(id, plan, hints, dead_lettering, now));
        self.shared.emit(id, started);
    }

    fn pulled(&mut self, id: JobId, source: usize, block: Block, progress: Pull) {
        self.on_job(id, |shared, job| {
            shared.progressed(job);
            let stage = job.plan.fed_by(source);
            if !block.ends.is_empty() {
                let first = job.stages[stage].next_position();
                job.feed(stage, Elements::pulled(first, block.bytes, block.ends));
            }
            let index = job.stages[stage].next_position();
            job.stages[stage].flush = matches!(progress, Pull::Pausing);
            let source = &mut job.sources[source];
            source.pulling = matches!(progress, Pull::Pausing) && source.pulling;
            source.ended |= matches!(progress, Pull::Ended | Pull::Failed(_));
            if let Pull::Failed(error) = progress {
                source.failure = Some((index, error));
            }
            output::pass_through(shared, job, stage);
        });
    }

    fn taken(&mut self, id: JobId, bytes: usize) {
        if let Some(job) = self.jobs.get_mut(id) {
            job.account.taken(bytes);
            self.shared.progressed(job);
            if job.output_queues.is_waiting() {
                // There may be room for the next block.
                self.advance(id);
            }
        }
    }

    fn leased(&mut self, lease: &Lease) {
        let (worker, heartbeat) = (lease.worker, lease.heartbeat);
        tracing::trace!(%worker, heartbeat, tasks = lease.tasks.len(), "lease");
        for leased in &lease.tasks {
            if let Some(task) = self.shared.tasks.get(leased.copy.task)
                && let Some(job) = self.jobs.get_mut(task.job)
            {
                lease::renewed(&mut self.shared, job, lease.worker, leased);
            }
        }
    }

    fn tick(&mut self, elapsed: Duration, unread: bool) {
        // All timeouts below are seconds long: once a second is enough.
        if !liveness::advance_clocks(&mut self.shared, elapsed, unread) {
            return;
        }
        if self.shared.health.is_well() {
            liveness::look_at_workers(&mut self.shared, &self.jobs);
        }
        let failed = refusals::look_at_refusals(&self.shared, &mut self.jobs);
        failed.into_iter().for_each(|job| self.advance(job));
        let failed = liveness::look_at_stalls(&mut self.shared, &mut self.jobs);
        failed.into_iter().for_each(|job| self.advance(job));
        let failed = spread::look_at_queues(&mut self.shared, &mut self.jobs);
        failed.into_iter().for_each(|job| self.advance(job));
        // Last, so that a task that is reissued now is not reported as a stall.
        let charged = loss::look_at_copies(&mut self.shared, &mut self.jobs);
        charged.into_iter().for_each(|job| self.advance(job));
    }

    /// Applies a change to the job of a copy. A copy of a task that is not live is ignored (rule
    /// 2).
    fn on_copy(&mut self, copy: CopyId, change: impl FnOnce(&mut Shared, &mut JobState)) {
        match self.shared.tasks.get(copy.task).map(|task| task.job) {
            Some(job) => self.on_job(job, change),
            None => tracing::debug!(%copy, "dropping a late reply"),
        }
    }

    /// Applies a change to a job, and advances the job.
    fn on_job(&mut self, id: JobId, change: impl FnOnce(&mut Shared, &mut JobState)) {
        if let Some(job) = self.jobs.get_mut(id) {
            change(&mut self.shared, job);
            self.advance(id);
        }
    }

    /// Advances a job after a change, and ends it if it is over.
    fn advance(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        spread::advance(&mut self.shared, job);
        let result = advance::advance(&mut self.shared, job);
        self.shared.touched.insert(id);
        if let Some(result) = result {
            self.end(id, result);
        }
    }

    /// Ends a job and retires its tasks: later replies to them are ignored.
    fn end(&mut self, id: JobId, result: Result<(), Error>) {
        let Some(mut job) = self.jobs.remove(id) else { return };
        debug_assert!(
            result.is_err() || !job.is_settled() || job.account.balances(),
            "a job that succeeds holds nothing but outputs for its reader: {job:?}"
        );
        let numbers: Vec<_> = self.shared.tasks.of(id).map(|(number, _)| number).collect();
        let mut published = false;
        for number in numbers {
            let task = schedule::retire(&mut self.shared, &mut job, number);
            published |= task.is_some_and(|task| task.attempt() > 0);
        }
        if published {
            self.shared.actions.push(Action::Cancel { job: id });
        }
        spread::end(&mut self.shared, &mut job);
        let progress = Progress { ended: true, ..job.progress() };
        let error = result.as_ref().err().map(|error| with_causes(error));
        self.shared.emit(id, JobEvent::Ended { error });
        self.shared.actions.push(Action::End { job: id, progress, result });
    }
}
