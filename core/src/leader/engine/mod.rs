//! The deciding half of the leader: `step(input) -> actions`, no clock, no I/O.
//!
//! Every decision that makes an element count exactly once is made here. `docs/protocol.md` describes
//! the protocol and lists the numbered rules that comments cite.

mod answer;
mod batch;
mod blame;
#[cfg(test)]
mod checks;
mod copy;
mod dead;
mod dispatch;
mod element;
mod elements;
mod event;
#[cfg(test)]
mod explorer;
mod flow;
mod fold;
mod job;
mod liveness;
mod loss;
mod output;
mod outputs;
mod probe;
mod protocol;
mod reorder;
mod retry;
#[cfg(test)]
mod scenarios;
mod task;
mod workers;

pub(super) use batch::LatencyTarget;
pub use event::{JobEvent, Progress, Stall};
pub(super) use outputs::{Indexes, OutputParts};
pub(super) use protocol::{Action, Input, Pull, PulledBlock};

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use self::{
    batch::Sizing,
    elements::Elements,
    flow::{Lane, PoolFlow},
    fold::LEAF,
    job::JobState,
    probe::Probing,
    task::Task,
    workers::Workers,
};
use crate::{
    broker::{Health, Pool},
    error::Error,
    id::{JobId, LeaderId, TaskNumber},
    plan::Plan,
};

/// What does not change while a leader lives.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) leader: LeaderId,
    pub(crate) latency_target: LatencyTarget,
    /// How long workers hold a delivery without settling it, at most (rule 8).
    pub(crate) hold: Duration,
    /// After so long without movement a job says why.
    pub(crate) stall_after: Duration,
    /// After so long without movement a job fails; `None` is never.
    pub(crate) patience: Option<Duration>,
}

/// The jobs and live tasks of one leader.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    settings: Settings,
    /// Healthy time: what back-offs and refusals count. Stands still while nothing can move.
    now: Duration,
    /// Healthy time without unread answers: what decides that a copy is lost (rule 13).
    quiet: Duration,
    /// Time, healthy or not: what stalls count.
    wall: Duration,
    jobs: BTreeMap<JobId, JobState>,
    /// Jobs in the order in which they get credit next.
    rotation: VecDeque<JobId>,
    /// The live tasks. A result counts if and only if its task is in here (rule 2).
    tasks: BTreeMap<TaskNumber, Task>,
    next_task: u64,
    /// Live tasks that wait for their back-off, by its end; what is due waits with its job.
    waiting: BTreeSet<(Duration, TaskNumber)>,
    /// Live tasks that somebody refused.
    refused: BTreeSet<TaskNumber>,
    /// The credit of each lane.
    flows: BTreeMap<Lane, PoolFlow>,
    /// The last confirm or probe: each has a number.
    order: u64,
    /// The probes of each pool.
    probing: BTreeMap<Pool, Probing>,
    workers: Workers,
    health: Health,
    /// Jobs whose progress has changed.
    touched: BTreeSet<JobId>,
    actions: Outbox,
}

/// What the step under way wants done.
#[derive(Debug, Default)]
struct Outbox(Vec<Action>);

impl Outbox {
    fn push(&mut self, action: Action) {
        self.0.push(action);
    }
}

impl Clone for Outbox {
    /// Between two steps there is nothing in it.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Engine {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: Duration::ZERO,
            quiet: Duration::ZERO,
            wall: Duration::ZERO,
            jobs: BTreeMap::new(),
            rotation: VecDeque::new(),
            tasks: BTreeMap::new(),
            next_task: 1,
            waiting: BTreeSet::new(),
            refused: BTreeSet::new(),
            flows: BTreeMap::new(),
            order: 0,
            probing: BTreeMap::new(),
            workers: Workers::default(),
            health: Health::default(),
            touched: BTreeSet::new(),
            actions: Outbox::default(),
        }
    }

    /// Hears something, decides, and says what is to be done.
    pub(crate) fn step(&mut self, input: Input) -> Vec<Action> {
        // A confirm brings no credit: there is nothing new to send.
        let idle = matches!(input, Input::Published { .. });
        match input {
            Input::Start { job, plan, hint } => self.start(job, plan, hint),
            Input::Pulled { job, block, progress } => self.pulled(job, block, progress),
            Input::Published { copy } => self.published(copy),
            Input::NotPublished { copy, error } => self.not_published(copy, &error),
            Input::Result(result) => self.result(result),
            Input::Return(returned) => self.returned(returned),
            Input::Garbled { copy, reason } => {
                let why = format!("a worker's answer does not decode: {reason}");
                self.copy_gone(copy, Some(&why));
            }
            Input::Combined { job, combination, result } => self.combined(job, combination, result),
            Input::Taken { job, bytes } => self.taken(job, bytes),
            Input::Cancel { job } => self.end(job, Err(Error::Cancelled { job })),
            Input::Presence(presence) => self.workers.hear(*presence, self.wall),
            Input::Bye(worker) => self.workers.bye(worker),
            Input::Close => {
                let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
                jobs.into_iter().for_each(|job| self.end(job, Err(Error::Closed)));
            }
            Input::Lease(lease) => self.leased(&lease),
            Input::Probed { pool, result } => self.probed(&pool, result),
            Input::ProbeReply(reply) => self.probe_came_back(&reply),
            Input::Declared { pool, result } => self.declared(&pool, result),
            Input::Interrupted => self.interrupted(),
            Input::Health(health) => self.health = health,
            Input::Tick { elapsed, unread } => self.tick(elapsed, unread),
        }
        if !idle {
            self.dispatch();
        }
        std::mem::take(&mut self.actions.0)
    }

    /// The jobs that are not over.
    pub(crate) fn live_jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.keys().copied()
    }

    /// The progress of each job that has changed since the last call and is not over.
    pub(crate) fn take_progress(&mut self) -> Vec<(JobId, Progress)> {
        std::mem::take(&mut self.touched)
            .into_iter()
            .filter_map(|id| self.jobs.get(&id).map(|job| (id, job.progress)))
            .collect()
    }

    fn start(&mut self, id: JobId, plan: Arc<Plan>, hint: Option<u64>) {
        let started = JobEvent::Started { stages: plan.stages.len(), elements: hint };
        self.jobs.insert(id, JobState::new(id, plan, hint, self.wall));
        self.rotation.push_back(id);
        self.actions.push(Action::Emit { job: id, event: started });
    }

    fn pulled(&mut self, id: JobId, block: PulledBlock, progress: Pull) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        self.moved(&mut job);
        if !block.ends.is_empty() {
            job.progress.pulled += block.ends.len() as u64;
            let first = job.stages[0].next_position;
            job.feed(0, Elements::pulled(first, block.bytes, block.ends));
        }
        job.stages[0].flush = matches!(progress, Pull::Pausing);
        match progress {
            Pull::Pausing => {}
            Pull::Done => job.source.pulling = false,
            Pull::Ended => {
                job.source.pulling = false;
                job.source.ended = true;
            }
            Pull::Failed(error) => {
                job.source.pulling = false;
                job.source.ended = true;
                job.source.failure = Some((job.stages[0].next_position, error));
            }
        }
        self.pass_through(&mut job);
        self.keep(job);
    }

    fn taken(&mut self, id: JobId, bytes: usize) {
        if let Some(mut job) = self.jobs.remove(&id) {
            job.free(bytes);
            job.outgoing = job.outgoing.saturating_sub(bytes);
            job.undelivered = job.undelivered.saturating_sub(bytes);
            self.moved(&mut job);
            self.jobs.insert(id, job);
        }
    }

    /// Puts a job back after something happened to it, or ends it if that was the last thing.
    fn keep(&mut self, mut job: JobState) {
        let id = job.id;
        let result = self.advance(&mut job);
        self.touched.insert(id);
        self.jobs.insert(id, job);
        if let Some(result) = result {
            self.end(id, result);
        }
    }

    /// Retires all tasks of a job; from here on nothing of it counts.
    fn end(&mut self, id: JobId, result: Result<(), Error>) {
        let Some(job) = self.jobs.remove(&id) else { return };
        debug_assert!(
            result.is_err() || !job.is_settled() || job.accounts_balance(),
            "what a job held has come back: {job:?}"
        );
        self.rotation.retain(|other| *other != id);
        let mut out = false;
        for number in &job.tasks {
            out |= self.retire(*number).is_some_and(|task| task.attempt > 0);
        }
        if out {
            self.actions.push(Action::Cancel { job: id });
        }
        let error = result.as_ref().err().map(ToString::to_string);
        self.actions.push(Action::Emit { job: id, event: JobEvent::Ended { error } });
        self.actions.push(Action::End { job: id, result });
    }

    fn moved(&mut self, job: &mut JobState) {
        job.moved = self.wall;
        if job.stall.take().is_some() {
            self.actions.push(Action::Emit { job: job.id, event: JobEvent::Resumed });
        }
    }

    fn sizing(&self, job: &JobState, stage: usize) -> Sizing {
        let plan = &job.plan.stages[stage];
        let Lane { pool, is_async } = Lane::of(plan);
        Sizing {
            latency_target: self.settings.latency_target,
            slots: self.workers.slots(&pool, is_async),
            cost: job.stages[stage].cost.per_element(),
            remaining: job.remaining(stage),
            fixed: if job.has_leaves(stage) { Some(LEAF) } else { plan.batch },
        }
    }

    /// Takes a task out of the table for ever (rule 2); its credit comes back.
    fn retire(&mut self, number: TaskNumber) -> Option<Task> {
        let mut task = self.tasks.remove(&number)?;
        self.release(number, &mut task);
        self.refused.remove(&number);
        if let Some(job) = self.jobs.get_mut(&task.job) {
            job.tasks.remove(&number);
        }
        Some(task)
    }
}
