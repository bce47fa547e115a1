//! Invariants that hold between any two steps, and canonical texts of the state; for tests.

use std::time::Duration;

use super::{
    Engine,
    job::Partitions,
    probe::Probing,
    table::{CopyState, TaskCopy, Work},
};
use crate::id::{CopyId, ExecutionId, TaskNumber};

impl Engine {
    /// Checks rule 1: each open position is owned exactly once.
    pub(crate) fn check_ownership(&self) {
        for job in self.jobs.iter() {
            for (stage, state) in job.stages.iter().enumerate() {
                let pending = state.pending().iter();
                let mut owned: Vec<(u64, u64)> =
                    pending.map(|elements| (elements.first(), elements.end())).collect();
                let lists = state.pending_lists().iter().copied();
                owned.extend(lists.map(|list| Partitions::whole(vec![list])).map(|it| {
                    let range = it.ranges()[0];
                    (range.from, range.to)
                }));
                let mut lists_are_known = state.pending_lists().is_empty();
                for (_, task) in self.shared.tasks.of(job.id) {
                    if let Work::Run { batch, .. } = &task.work
                        && task.stage == stage
                    {
                        lists_are_known &= !batch.is_open();
                        owned.extend(batch.ranges().iter().map(|range| (range.from, range.to)));
                    }
                }
                owned.sort_unstable();
                assert!(
                    owned.windows(2).all(|pair| pair[0].1 <= pair[1].0),
                    "owned twice: {owned:?}"
                );
                let open: u64 = owned.iter().map(|(from, to)| to - from).sum();
                if lists_are_known {
                    assert_eq!(open, state.open(), "each open position is owned");
                }
            }
        }
        self.shared.tasks.check();
    }

    /// Checks that all credit is released; for an engine without jobs.
    pub(crate) fn check_credit(&self) {
        for (lane, flow) in self.shared.flows.iter() {
            assert_eq!((flow.tasks, flow.bytes), (0, 0), "credit of {lane:?}");
        }
        assert!(self.shared.tasks.is_empty());
        self.shared.blocks.check_empty();
    }

    /// A text that is equal for engines that behave alike: it leaves out task numbers, clocks and
    /// measurements.
    pub(crate) fn canonical(&self) -> String {
        let tasks = self.shared.tasks.iter();
        let mut tasks: Vec<String> =
            tasks.map(|(number, _)| self.canonical_copy(CopyId::new(number, 0))).collect();
        tasks.sort_unstable();
        let jobs: Vec<String> = self
            .jobs
            .iter()
            .map(|job| {
                let held = job.fold.as_ref().map(super::fold::FoldTree::held);
                let pending: Vec<_> = job
                    .stages
                    .iter()
                    .map(|stage| (stage.pending(), stage.pending_lists(), stage.open()))
                    .collect();
                let ended: Vec<_> = job.sources.iter().map(|source| source.ended).collect();
                let exchanges: Vec<_> = job.exchanges.iter().map(|it| it.canonical()).collect();
                let (reorder, queued) = (&job.reorder, job.output_queues.canonical());
                format!("{held:?} {pending:?} {reorder:?} {ended:?} {exchanges:?} {queued}")
            })
            .collect();
        let (now, hold) = (self.shared.clocks.quiet, self.shared.settings.hold);
        let probing: Vec<String> =
            self.shared.probes.iter().map(|probing| probing.canonical(now, hold)).collect();
        format!("{tasks:?} {jobs:?} {probing:?}")
    }

    /// The executions whose blocks count, of all exchanges.
    pub(crate) fn winners(&self) -> Vec<ExecutionId> {
        let exchanges = self.jobs.iter().flat_map(|job| &job.exchanges);
        exchanges.flat_map(|exchange| exchange.winners().to_vec()).collect()
    }

    /// The executions whose outputs count that are in the queues of tasks.
    pub(crate) fn queued_executions(&self) -> Vec<ExecutionId> {
        self.jobs.iter().flat_map(|job| job.output_queues.executions()).collect()
    }

    /// As [`canonical`](Self::canonical), for a probe: the copies of which it can prove a loss.
    pub(crate) fn canonical_probe(&self, nonce: u64) -> String {
        let before = |copy: &&TaskCopy| match copy.state {
            CopyState::Queued { order, .. } => order < nonce,
            _ => false,
        };
        let proven = |(number, task): (TaskNumber, &super::table::Task)| {
            let copy = task.copies().iter().find(before)?;
            Some(self.canonical_copy(CopyId::new(number, copy.attempt)))
        };
        let mut tasks: Vec<String> = self.shared.tasks.iter().filter_map(proven).collect();
        tasks.sort_unstable();
        format!("{tasks:?}")
    }

    /// As [`canonical`](Self::canonical), for one copy of a task.
    pub(crate) fn canonical_copy(&self, id: CopyId) -> String {
        let Some(task) = self.shared.tasks.get(id.task) else { return String::from("dead") };
        let batch = match &task.work {
            Work::Run { batch, first_step } => format!("{first_step} {:?}", batch.ranges()),
            Work::Combine { partials } => format!("{partials:?}"),
        };
        // Losses depend on the age of a lease or a confirm, up to a hold.
        let (now, hold) = (self.shared.clocks.quiet, self.shared.settings.hold);
        let age = |at: Duration| (now - at).min(hold).as_secs();
        let mut copies: Vec<String> = task
            .copies()
            .iter()
            .map(|copy| {
                let newest = copy.attempt == task.attempt();
                let state = match copy.state {
                    CopyState::Publishing => "publishing".to_owned(),
                    CopyState::Queued { order, since } => {
                        let unknown = Probing::default();
                        let probing = self.shared.probes.of(&task.lane.pool).unwrap_or(&unknown);
                        let lost_in = probing.lost_in(order, now, hold);
                        let overdue = probing.is_overdue(order, since, now, hold);
                        format!("queued {} {lost_in:?} {overdue}", age(since))
                    }
                    CopyState::Leased { renewed, offset, in_process, .. } => {
                        format!("leased {} {offset} {in_process}", age(renewed))
                    }
                };
                format!("{newest} {} {state}", copy.isolated)
            })
            .collect();
        copies.sort_unstable();
        let (newest, known) = (task.attempt() == id.attempt, task.copy(id.attempt).is_some());
        let (isolated, redelivered) = (task.isolated, task.redelivered);
        let missing = task.missing.map(|(times, _)| times);
        format!("{batch} {copies:?} {isolated} {redelivered} {missing:?} {newest} {known}")
    }
}
