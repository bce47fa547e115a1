//! The tasks that a child process holds, by the numbers that its parent gave them.

use std::{collections::HashMap, sync::Mutex};

use phalanx_core::{
    id::{CopyId, JobId, LeaderId},
    wire::TaskHeader,
};

use super::frame::RunNumber;
use crate::lock::lock;

/// The tasks that a child process holds: as many as its parent has sent and it has not settled.
#[derive(Debug, Default)]
pub(super) struct ChildRuns(Mutex<Runs>);

#[derive(Debug, Default)]
struct Runs {
    numbers: HashMap<(LeaderId, CopyId), RunNumber>,
    tasks: HashMap<RunNumber, (LeaderId, CopyId, JobId)>,
}

impl ChildRuns {
    pub(super) fn begin(&self, run: RunNumber, header: &TaskHeader) {
        let mut runs = lock(&self.0);
        runs.numbers.insert((header.leader, header.copy), run);
        runs.tasks.insert(run, (header.leader, header.copy, header.job));
    }

    pub(super) fn end(&self, run: RunNumber) {
        let mut runs = lock(&self.0);
        if let Some((leader, copy, _)) = runs.tasks.remove(&run) {
            runs.numbers.remove(&(leader, copy));
        }
    }

    pub(super) fn number(&self, leader: LeaderId, copy: CopyId) -> Option<RunNumber> {
        lock(&self.0).numbers.get(&(leader, copy)).copied()
    }

    /// The job of a run.
    pub(super) fn job(&self, run: RunNumber) -> Option<(LeaderId, JobId)> {
        lock(&self.0).tasks.get(&run).map(|(leader, _, job)| (*leader, *job))
    }
}
