//! The jobs of a leader, and the order in which they get credit.

use std::collections::{BTreeMap, VecDeque};

use super::JobState;
use crate::id::JobId;

/// The jobs that are not over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Jobs {
    by_id: BTreeMap<JobId, JobState>,
    /// The same jobs, in the order in which they get credit: round-robin.
    rotation: VecDeque<JobId>,
}

impl Jobs {
    pub(crate) fn insert(&mut self, job: JobState) {
        self.rotation.push_back(job.id);
        self.by_id.insert(job.id, job);
    }

    pub(crate) fn remove(&mut self, id: JobId) -> Option<JobState> {
        let job = self.by_id.remove(&id)?;
        self.rotation.retain(|other| *other != id);
        Some(job)
    }

    pub(crate) fn get(&self, id: JobId) -> Option<&JobState> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: JobId) -> Option<&mut JobState> {
        self.by_id.get_mut(&id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = JobId> + '_ {
        self.by_id.keys().copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &JobState> {
        self.by_id.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut JobState> {
        self.by_id.values_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.rotation.len()
    }

    /// The job whose turn it is; its next turn comes after those of all others.
    pub(crate) fn next_turn(&mut self) -> Option<JobId> {
        let id = self.rotation.pop_front()?;
        self.rotation.push_back(id);
        Some(id)
    }
}
