//! The state that all jobs of a leader share: tasks, credit, probes, workers, clocks.

use std::{collections::BTreeSet, time::Duration};

use super::{
    event::JobEvent,
    flow::{BlockCredit, Feeding, Flows, Lane, LatencyTarget, Sizing, Workers},
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

/// The settings of a leader, which do not change while it lives.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) leader: LeaderId,
    pub(crate) latency_target: LatencyTarget,
    /// The longest time that workers hold a delivery without settling it (rule 8): 30 s by default.
    pub(crate) hold: Duration,
    /// The time without progress after which a job reports its stall: 25 s by default.
    pub(crate) stall_after: Duration,
    /// The time without progress after which a job fails; `None`, the default, is never.
    pub(crate) patience: Option<Duration>,
    /// The most bytes of blocks that the leader holds; `None` in memory.
    pub(crate) max_blocks: Option<usize>,
    /// After how many bytes of outputs a task stops, if the one that goes on gets a queue.
    pub(crate) output_cap: u64,
    /// The most bytes of blocks that a job writes to queues.
    pub(crate) shuffle_limit: u64,
}

/// Four clocks, which all start at zero with the leader.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clocks {
    /// Advances while the leader is connected and not blocked. For back-offs, refusals, and the
    /// presence of workers.
    pub(super) healthy: Duration,
    /// Advances while, in addition, no reply is unread. For losses (rule 13).
    pub(super) quiet: Duration,
    /// Advances always. For stalls.
    pub(super) wall: Duration,
    /// Advances while the broker accepts no messages, and begins again when it does, or when a job
    /// was ended to free it.
    pub(super) blocked: Duration,
}

/// The state of a leader except its jobs. Functions that change a job take both.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) clocks: Clocks,
    pub(super) tasks: TaskTable,
    pub(super) flows: Flows,
    pub(super) blocks: BlockCredit,
    pub(super) probes: Probes,
    pub(super) workers: Workers,
    pub(super) health: Health,
    /// The jobs whose progress has changed since it was last taken.
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
    /// Clones as empty: engines are cloned only between two steps, when it is empty.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            blocks: BlockCredit::new(settings.max_blocks),
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

    /// Records that a job has made progress.
    pub(super) fn progressed(&mut self, job: &mut JobState) {
        job.last_progress = self.clocks.wall;
        if job.stall.take_if(|stall| !stall.outlasts_progress()).is_some() {
            self.emit(job.id, JobEvent::Resumed);
        }
    }

    /// The inputs of the formulas that size the next batch of a stage.
    pub(super) fn sizing(&self, job: &JobState, stage: usize) -> Sizing {
        let plan = &job.plan.stages[stage];
        let Lane { pool, is_async } = Lane::of(plan);
        Sizing {
            latency_target: self.settings.latency_target,
            slots: self.workers.slots(&pool, is_async),
            cost: job.stages[stage].cost.per_element(),
            remaining: job.remaining(stage),
            fixed: if job.has_leaves(stage) { Some(LEAF) } else { plan.batch },
            feeding: job.fed_by(stage).map(|exchange| {
                let state = &job.exchanges[exchange];
                let written = state.queues().map(|_| state.tasks());
                Feeding { sources: job.sources.len(), spread_tasks: written }
            }),
        }
    }
}
