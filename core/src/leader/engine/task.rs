//! A task at the leader.

use std::{collections::BTreeMap, time::Duration};

use super::{
    copy::{CopyState, TaskCopy},
    elements::Elements,
    flow::Lane,
    fold::Partial,
};
use crate::{
    id::{JobId, WorkerId},
    registry::Refusal,
    wire::{Outcome, ResultHeader},
};

/// A task at the leader: the one owner of its elements, or of the partial results it combines.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) job: JobId,
    pub(crate) stage: usize,
    pub(crate) lane: Lane,
    pub(crate) work: Work,
    /// The number of the newest copy; 0 before the first.
    pub(crate) attempt: u32,
    /// Copies that the broker or a worker has, or may have; none while it waits.
    pub(crate) copies: Vec<TaskCopy>,
    pub(crate) state: TaskState,
    /// Whether it is run in processes of its own from now on: it may have killed a worker (rule 7).
    pub(crate) isolated: bool,
    /// How often it came back as redelivered although it was isolated, or garbled: what it costs
    /// is found by halving.
    pub(crate) redelivered: u32,
    /// How often it came back otherwise, or its publishing failed: what the back-off counts.
    pub(crate) setbacks: u32,
    /// Who refused it, when first, and why.
    pub(crate) refusals: BTreeMap<WorkerId, (Duration, Refusal)>,
    /// What it was counted with in the credit of its pool while it is out.
    pub(crate) charged: usize,
    /// Bytes of output that it was expected to give, counted in its job's credit.
    pub(crate) expected: usize,
}

/// What a task is about.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Elements, and the step at which they start (not 0 behind a failed `try_map`).
    Run { elements: Elements, first_step: usize },
    /// Neighbouring partial results to combine.
    Combine { partials: Vec<Partial> },
}

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// Waits for its back-off.
    Waiting { until: Duration },
    /// Its back-off is over; it waits for credit.
    Due,
    /// Its copies are out.
    Out,
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
            charged: 0,
            expected: 0,
        }
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

    /// A new task of the same stage: numbers, copies and refusals start anew. What was suspect
    /// stays so.
    pub(crate) fn with(&self, work: Work) -> Self {
        let isolated = self.isolated;
        Self { isolated, ..Self::new(self.job, self.stage, self.lane.clone(), work) }
    }

    pub(crate) fn copy(&self, attempt: u32) -> Option<&TaskCopy> {
        self.copies.iter().find(|copy| copy.attempt == attempt)
    }

    /// Where a copy is, to be changed.
    pub(crate) fn copy_state(&mut self, attempt: u32) -> Option<&mut CopyState> {
        let copy = self.copies.iter_mut().find(|copy| copy.attempt == attempt);
        copy.map(|copy| &mut copy.state)
    }

    /// Forgets a copy; whether the task waits for an answer that will not come.
    pub(crate) fn lose_copy(&mut self, attempt: u32) -> bool {
        let known = self.copy(attempt).is_some();
        self.copies.retain(|copy| copy.attempt != attempt);
        known && self.copies.is_empty()
    }

    /// Whether a result speaks of this batch: it tiles it (the decoder has checked that it tiles
    /// something), its failures name steps that exist, and its outputs are as many as they can be.
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
