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

    /// Whether a task is live.
    pub(crate) fn is_live(&self, number: TaskNumber) -> bool {
        self.tasks.contains_key(&number)
    }
}
