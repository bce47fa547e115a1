//! What must hold between any two steps; for tests.

use std::time::Duration;

use super::Engine;
use crate::{
    id::TaskNumber,
    leader::engine::{
        copy::{CopyState, TaskCopy},
        probe::Probing,
        task::{TaskState, Work},
    },
};

impl Engine {
    /// Rule 1: every position is owned exactly once.
    pub(crate) fn check_ownership(&self) {
        for job in self.jobs.values() {
            for (stage, state) in job.stages.iter().enumerate() {
                let mut owned: Vec<(u64, u64)> = state
                    .pending
                    .iter()
                    .map(|elements| (elements.first(), elements.end()))
                    .collect();
                for number in &job.tasks {
                    let task = &self.tasks[number];
                    if let Work::Run { elements, .. } = &task.work
                        && task.stage == stage
                    {
                        owned.push((elements.first(), elements.end()));
                    }
                }
                owned.sort_unstable();
                assert!(
                    owned.windows(2).all(|pair| pair[0].1 <= pair[1].0),
                    "owned twice: {owned:?}"
                );
                let open: u64 = owned.iter().map(|(from, to)| to - from).sum();
                assert_eq!(open, state.open, "each open position is owned");
            }
        }
        for (number, task) in &self.tasks {
            assert!(self.jobs[&task.job].tasks.contains(number), "a live task is its job's");
            match task.state {
                TaskState::Waiting { until } => {
                    assert!(self.waiting.contains(&(until, *number)), "what waits will be sent");
                    assert!(task.copies.is_empty(), "what waits has no copy");
                }
                TaskState::Due => {
                    let due = &self.jobs[&task.job].stages[task.stage].due;
                    assert!(due.contains(number), "what is due will be sent");
                    assert!(task.copies.is_empty(), "what is due has no copy");
                }
                TaskState::Out => assert!(!task.copies.is_empty(), "what is out has a copy"),
            }
        }
    }

    /// All credit has come back; for an engine without jobs.
    pub(crate) fn check_credit(&self) {
        for (lane, flow) in &self.flows {
            assert_eq!((flow.tasks, flow.bytes), (0, 0), "credit of {lane:?}");
        }
        assert!(self.tasks.is_empty() && self.waiting.is_empty());
    }

    /// What makes the state of this engine different from others, whatever the numbers of its
    /// tasks, its clocks and its measurements.
    pub(crate) fn likeness(&self) -> String {
        let mut tasks: Vec<String> =
            self.tasks.keys().map(|task| self.likeness_of(*task, 0)).collect();
        tasks.sort_unstable();
        let jobs: Vec<String> = self
            .jobs
            .values()
            .map(|job| {
                let held = job.fold.as_ref().map(super::fold::FoldTree::held);
                let pending: Vec<_> =
                    job.stages.iter().map(|stage| (&stage.pending, stage.open)).collect();
                format!("{held:?} {pending:?} {:?} {}", job.releases, job.source.ended)
            })
            .collect();
        let probing: Vec<String> = self
            .probing
            .values()
            .map(|probing| probing.likeness(self.quiet, self.settings.hold))
            .collect();
        format!("{tasks:?} {jobs:?} {probing:?}")
    }

    /// The same for a probe: whether it proves anything, and of which copies.
    pub(crate) fn likeness_of_probe(&self, nonce: u64) -> String {
        let behind = |copy: &&TaskCopy| matches!(copy.state, CopyState::Queued { order, .. } if order < nonce);
        let mut tasks: Vec<String> = self
            .tasks
            .iter()
            .filter_map(|(number, task)| {
                let copy = task.copies.iter().find(behind)?;
                Some(self.likeness_of(*number, copy.attempt))
            })
            .collect();
        tasks.sort_unstable();
        format!("{tasks:?}")
    }

    /// The same for one copy of a task.
    pub(crate) fn likeness_of(&self, number: TaskNumber, attempt: u32) -> String {
        let Some(task) = self.tasks.get(&number) else { return String::from("dead") };
        let batch = match &task.work {
            Work::Run { elements, first_step } => format!("{first_step} {:?}", elements.ranges()),
            Work::Combine { partials } => format!("{partials:?}"),
        };
        // How old a lease or a confirm is: what decides about losses.
        let hold = self.settings.hold;
        let age = |at: Duration| (self.quiet - at).min(hold).as_secs();
        let mut copies: Vec<String> = task
            .copies
            .iter()
            .map(|copy| {
                let newest = copy.attempt == task.attempt;
                let state = match copy.state {
                    CopyState::Publishing => "publishing".to_owned(),
                    CopyState::Queued { order, since } => {
                        let unknown = Probing::default();
                        let probing = self.probing.get(&task.lane.pool).unwrap_or(&unknown);
                        let lost_in = probing.lost_in(order, self.quiet, hold);
                        let overdue = probing.is_overdue(order, since, self.quiet, hold);
                        format!("queued {} {lost_in:?} {overdue}", age(since))
                    }
                    CopyState::Leased { heard, .. } => format!("leased {}", age(heard)),
                };
                format!("{newest} {} {state}", copy.isolated)
            })
            .collect();
        copies.sort_unstable();
        let (newest, known) = (task.attempt == attempt, task.copy(attempt).is_some());
        let (isolated, redelivered) = (task.isolated, task.redelivered);
        format!("{batch} {copies:?} {isolated} {redelivered} {newest} {known}")
    }
}
