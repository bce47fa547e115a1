//! What all jobs of a leader share.

use std::{collections::BTreeSet, time::Duration};

use super::{
    event::JobEvent,
    flow::{Flows, Lane, LatencyTarget, Sizing, Workers},
    fold::LEAF,
    job::JobState,
    probe::Probes,
    protocol::Action,
    table::TaskTable,
};
use crate::{
    broker::Health,
    id::{JobId, LeaderId},
};

/// What does not change while a leader lives.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) leader: LeaderId,
    pub(crate) latency_target: LatencyTarget,
    /// The longest time that workers hold a delivery without settling it (rule 8).
    pub(crate) hold: Duration,
    /// After this long without progress a job reports its stall.
    pub(crate) stall_after: Duration,
    /// After this long without progress a job fails; `None` is never.
    pub(crate) patience: Option<Duration>,
}

/// Three clocks, which count from the start of the leader.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clocks {
    /// Time while messages can flow: for back-offs and refusals.
    pub(super) healthy: Duration,
    /// Healthy time without unread replies: for losses (rule 13).
    pub(super) quiet: Duration,
    /// All time: for stalls.
    pub(super) wall: Duration,
}

/// Everything that a leader decides with, except the jobs themselves. A function that changes one
/// job takes both.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) clocks: Clocks,
    pub(super) tasks: TaskTable,
    pub(super) flows: Flows,
    pub(super) probes: Probes,
    pub(super) workers: Workers,
    pub(super) health: Health,
    /// Jobs whose progress has changed since it was published last.
    pub(super) touched: BTreeSet<JobId>,
    pub(super) actions: Outbox,
}

/// The actions of the step under way.
#[derive(Debug, Default)]
pub(super) struct Outbox(Vec<Action>);

impl Outbox {
    pub(super) fn push(&mut self, action: Action) {
        self.0.push(action);
    }

    pub(super) fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.0)
    }
}

impl Clone for Outbox {
    /// Between two steps it is empty, and engines are cloned between two steps.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            clocks: Clocks::default(),
            tasks: TaskTable::default(),
            flows: Flows::default(),
            probes: Probes::default(),
            workers: Workers::default(),
            health: Health::default(),
            touched: BTreeSet::new(),
            actions: Outbox::default(),
        }
    }

    pub(super) fn emit(&mut self, job: JobId, event: JobEvent) {
        self.actions.push(Action::Emit { job, event });
    }

    /// Notes that a job has made progress.
    pub(super) fn progressed(&mut self, job: &mut JobState) {
        job.last_progress = self.clocks.wall;
        if job.stall.take().is_some() {
            self.emit(job.id, JobEvent::Resumed);
        }
    }

    /// What the size of the next batch of a stage follows from.
    pub(super) fn sizing(&self, job: &JobState, stage: usize) -> Sizing {
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
}
