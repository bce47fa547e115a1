//! A task: a batch on its way through a stage.

use std::{collections::BTreeMap, time::Duration};

use super::{CopyState, TaskCopy};
use crate::{
    id::{JobId, WorkerId},
    leader::engine::{flow::Lane, fold::Partial, job::Elements},
    registry::Refusal,
    wire::{Outcome, ResultHeader},
};

/// A task: the one owner of its elements, or of the partial results that it combines.
///
/// `attempt`, `copies` and `state` are changed by the [`TaskTable`](super::TaskTable) alone.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) job: JobId,
    pub(crate) stage: usize,
    pub(crate) lane: Lane,
    pub(crate) work: Work,
    /// Whether copies from now on run in child processes: the task may have killed a worker
    /// (rule 7).
    pub(crate) isolated: bool,
    /// How often the task came back as redelivered although it was isolated, or with an undecodable
    /// reply. Past a limit the batch is halved.
    pub(crate) redelivered: u32,
    /// How often the task came back for another reason, or could not be published: sets the
    /// back-off.
    pub(crate) setbacks: u32,
    /// The workers that refused the task, when each did first, and why.
    pub(crate) refusals: BTreeMap<WorkerId, (Duration, Refusal)>,
    /// The number of the newest copy; 0 before the first.
    pub(super) attempt: u32,
    /// Copies that the broker or a worker has, or may have; none while the task waits.
    pub(super) copies: Vec<TaskCopy>,
    pub(super) state: TaskState,
}

/// The batch of a task.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Elements, and the step at which they start (not 0 after a failed `try_map`).
    Run { elements: Elements, first_step: usize },
    /// Neighbouring partial results to combine.
    Combine { partials: Vec<Partial> },
}

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// Waits for the end of its back-off.
    Waiting { until: Duration },
    /// Its back-off is over; it waits for credit.
    Due,
    /// At least one copy is published.
    Out { charge: Charge },
}

/// What a task that is out takes from the credit of its pool and of its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "credit is taken, or given back"]
pub(crate) struct Charge {
    /// Encoded bytes of its batch.
    pub(crate) input: usize,
    /// Bytes of output that are expected.
    pub(crate) output: usize,
}

impl Task {
    pub(crate) fn new(job: JobId, stage: usize, lane: Lane, work: Work) -> Self {
        Self {
            job,
            stage,
            lane,
            work,
            attempt: 0,
            copies: Vec::new(),
            state: TaskState::Waiting { until: Duration::ZERO },
            isolated: false,
            redelivered: 0,
            setbacks: 0,
            refusals: BTreeMap::new(),
        }
    }

    /// The number of the newest copy; 0 before the first.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(crate) fn state(&self) -> TaskState {
        self.state
    }

    /// Whether at least one copy is published.
    pub(crate) fn is_out(&self) -> bool {
        matches!(self.state, TaskState::Out { .. })
    }

    /// Copies that the broker or a worker has, or may have.
    pub(crate) fn copies(&self) -> &[TaskCopy] {
        &self.copies
    }

    /// How many elements, or partial results, its batch has.
    pub(crate) fn len(&self) -> usize {
        match &self.work {
            Work::Run { elements, .. } => elements.len(),
            Work::Combine { partials } => partials.len(),
        }
    }

    /// Encoded size of its batch.
    pub(crate) fn size(&self) -> usize {
        match &self.work {
            Work::Run { elements, .. } => elements.bytes().len(),
            Work::Combine { partials } => {
                partials.iter().filter_map(|partial| partial.bytes.as_ref()).map(|b| b.len()).sum()
            }
        }
    }

    /// A task of the same stage with another batch. Copies and refusals start anew; a task that is
    /// isolated stays so.
    pub(crate) fn with(&self, work: Work) -> Self {
        let isolated = self.isolated;
        Self { isolated, ..Self::new(self.job, self.stage, self.lane.clone(), work) }
    }

    pub(crate) fn copy(&self, attempt: u32) -> Option<&TaskCopy> {
        self.copies.iter().find(|copy| copy.attempt == attempt)
    }

    /// The state of a copy, to be changed.
    pub(super) fn copy_state(&mut self, attempt: u32) -> Option<&mut CopyState> {
        let copy = self.copies.iter_mut().find(|copy| copy.attempt == attempt);
        copy.map(|copy| &mut copy.state)
    }

    /// Whether a result is one of this batch: its segments tile it (the decoder has checked that they
    /// tile something), its failures name steps that exist, and the numbers of outputs are possible.
    pub(crate) fn fits(&self, header: &ResultHeader, shape: Shape) -> bool {
        let outcome_fits = |elements: u32, outcome: &Outcome| match outcome {
            Outcome::Done { outputs, counts, .. } if shape.folds => {
                *outputs <= 1 && counts.is_none()
            }
            Outcome::Done { outputs, counts, lengths, .. } => {
                (counts.is_some() || *outputs == elements)
                    && (counts.is_none() || !shape.one_to_one)
                    && (lengths.is_some() || !shape.measured)
            }
            Outcome::Failed { step, .. } => (*step as usize) < shape.steps,
            Outcome::NotRun { .. } => true,
        };
        header.segments.last().is_some_and(|last| last.to as usize == self.len())
            && header.segments.iter().all(|s| outcome_fits(s.to - s.from, &s.outcome))
    }
}

/// What the outputs of a stage can be like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) steps: usize,
    pub(crate) folds: bool,
    pub(crate) one_to_one: bool,
    pub(crate) measured: bool,
}

#[cfg(test)]
impl Task {
    /// Numbers all copies 1, as if they had no numbers.
    pub(crate) fn forget_attempts(&mut self) {
        self.attempt = self.attempt.min(1);
        self.copies.iter_mut().for_each(|copy| copy.attempt = 1);
    }
}
