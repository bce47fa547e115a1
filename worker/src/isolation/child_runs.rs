//! The tasks that a child process holds, by the numbers that its parent gave them.

use std::{collections::HashMap, sync::Mutex};

use phalanx_core::{
    id::{CopyId, JobId, LeaderId},
    wire::TaskHeader,
};

use super::frame::RunNumber;
use crate::{gathering::GatheredTask, lock::lock};

/// The tasks that a child process holds: as many as its parent has sent and it has not settled.
#[derive(Debug, Default)]
pub(super) struct ChildRuns(Mutex<Runs>);

#[derive(Debug, Default)]
struct Runs {
    numbers: HashMap<(LeaderId, CopyId), RunNumber>,
    tasks: HashMap<RunNumber, (LeaderId, CopyId, JobId)>,
    /// What those have gathered that have not begun.
    gathered: HashMap<RunNumber, GatheredTask>,
}

impl ChildRuns {
    /// A task has arrived, with what it has gathered.
    pub(super) fn begin(
        &self,
        run: RunNumber,
        header: &TaskHeader,
        gathered: Option<GatheredTask>,
    ) {
        let mut runs = lock(&self.0);
        runs.gathered.extend(gathered.map(|gathered| (run, gathered)));
        runs.numbers.insert((header.leader, header.copy), run);
        runs.tasks.insert(run, (header.leader, header.copy, header.job));
    }

    pub(super) fn end(&self, run: RunNumber) {
        let mut runs = lock(&self.0);
        if let Some((leader, copy, _)) = runs.tasks.remove(&run) {
            runs.numbers.remove(&(leader, copy));
        }
        runs.gathered.remove(&run);
    }

    /// Takes what a task has gathered.
    pub(super) fn take_gathered(&self, leader: LeaderId, copy: CopyId) -> Option<GatheredTask> {
        let mut runs = lock(&self.0);
        let run = *runs.numbers.get(&(leader, copy))?;
        runs.gathered.remove(&run)
    }

    pub(super) fn number(&self, leader: LeaderId, copy: CopyId) -> Option<RunNumber> {
        lock(&self.0).numbers.get(&(leader, copy)).copied()
    }

    /// The job of a run.
    pub(super) fn job(&self, run: RunNumber) -> Option<(LeaderId, JobId)> {
        lock(&self.0).tasks.get(&run).map(|(leader, _, job)| (*leader, *job))
    }
}
