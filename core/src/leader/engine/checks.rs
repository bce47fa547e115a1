//! What must hold between any two steps; for tests.

use super::Engine;
use crate::{
    id::TaskNumber,
    leader::task::{TaskState, Work},
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
            if let TaskState::Waiting { until } = task.state {
                assert!(self.waiting.contains(&(until, *number)), "what waits will be sent");
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
                let held = job.fold.as_ref().map(super::super::fold::FoldTree::held);
                let pending: Vec<_> =
                    job.stages.iter().map(|stage| (&stage.pending, stage.open)).collect();
                format!("{held:?} {pending:?} {:?} {}", job.releases, job.source.ended)
            })
            .collect();
        format!("{tasks:?} {jobs:?}")
    }

    /// The same for one copy of a task.
    pub(crate) fn likeness_of(&self, number: TaskNumber, attempt: u32) -> String {
        let Some(task) = self.tasks.get(&number) else { return String::from("dead") };
        let batch = match &task.work {
            Work::Run { elements, first_step } => format!("{first_step} {:?}", elements.ranges()),
            Work::Combine { partials } => format!("{partials:?}"),
        };
        let state = match task.state {
            TaskState::Waiting { .. } => "waiting",
            TaskState::Publishing => "publishing",
            TaskState::Queued => "queued",
        };
        let newest = task.attempt == attempt;
        let known = task.copies.contains(&attempt);
        format!("{batch} {state} {} {} {newest} {known}", task.copies.len(), task.redelivered)
    }
}
