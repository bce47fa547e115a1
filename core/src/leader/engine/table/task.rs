//! A task: a batch of elements to run through one stage, or partial results to combine.

use std::time::Duration;

use super::{CopyState, TaskCopy};
use crate::{
    id::JobId,
    leader::engine::{flow::Lane, fold::Partial, job::Batch},
    wire::{BlockHeader, Outcome, ResultHeader, Segment},
};

/// A task: the only owner of its elements, or of the partial results that it combines (rule 1).
///
/// `attempt`, `copies` and `state` are changed by the [`TaskTable`](super::TaskTable) alone.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) job: JobId,
    pub(crate) stage: usize,
    pub(crate) lane: Lane,
    pub(crate) work: Work,
    /// Whether future copies run in child processes, because the task may have killed a worker
    /// (rule 7).
    pub(crate) isolated: bool,
    /// Whether its outputs go through a queue of its own, because those before them were more than
    /// fit into a result (rule 39).
    pub(crate) queues_outputs: bool,
    /// How often a copy was redelivered although it was isolated, or replied to undecodably. At a
    /// limit the batch is halved.
    pub(crate) redelivered: u32,
    /// How often a copy was returned for other reasons, or could not be published. Sets the
    /// back-off.
    pub(crate) setbacks: u32,
    /// How often in a row the broker lost a copy of the task.
    pub(crate) lost: u32,
    /// How often it was returned because blocks are missing, and since when, in quiet time.
    pub(crate) missing: Option<(u32, Duration)>,
    /// How often in a row the broker did not accept a copy, and why it did not accept the last.
    pub(crate) unaccepted: Option<(u32, String)>,
    /// The number of the newest copy; 0 before the first.
    pub(super) attempt: u32,
    /// The copies that the broker or a worker has, or may have; none unless the task is out.
    pub(super) copies: Vec<TaskCopy>,
    pub(super) state: TaskState,
}

/// The batch of a task.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Elements to run, beginning with the step `first_step`: not 0 after a failed `try_map`.
    Run { batch: Batch, first_step: usize },
    /// Neighbouring partial results to combine.
    Combine { partials: Vec<Partial> },
}

/// The state of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// It waits for the end of its back-off, in healthy time.
    Waiting { until: Duration },
    /// Its back-off is over; it waits for credit.
    Due,
    /// At least one copy is published.
    Out { charge: Charge },
}

/// The credit of its pool and its job that a task takes up while it is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the credit must be charged or released"]
pub(crate) struct Charge {
    /// Encoded bytes of its batch.
    pub(crate) input: usize,
    /// The expected size of its output, in bytes.
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
            queues_outputs: false,
            redelivered: 0,
            setbacks: 0,
            lost: 0,
            missing: None,
            unaccepted: None,
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

    /// The copies that the broker or a worker has, or may have.
    pub(crate) fn copies(&self) -> &[TaskCopy] {
        &self.copies
    }

    /// The number of its elements or partial results.
    pub(crate) fn len(&self) -> usize {
        match &self.work {
            Work::Run { batch, .. } => batch.len(),
            Work::Combine { partials } => partials.len(),
        }
    }

    /// The encoded size of its batch, in bytes.
    pub(crate) fn size(&self) -> usize {
        match &self.work {
            Work::Run { batch, .. } => batch.size(),
            Work::Combine { partials } => {
                partials.iter().filter_map(|partial| partial.bytes.as_ref()).map(|b| b.len()).sum()
            }
        }
    }

    /// A new task of the same stage with another batch, without copies. It stays
    /// isolated.
    pub(crate) fn with(&self, work: Work) -> Self {
        let isolated = self.isolated;
        Self { isolated, ..Self::new(self.job, self.stage, self.lane.clone(), work) }
    }

    pub(crate) fn copy(&self, attempt: u32) -> Option<&TaskCopy> {
        self.copies.iter().find(|copy| copy.attempt == attempt)
    }

    /// The state of a copy, mutably.
    pub(super) fn copy_state(&mut self, attempt: u32) -> Option<&mut CopyState> {
        let copy = self.copies.iter_mut().find(|copy| copy.attempt == attempt);
        copy.map(|copy| &mut copy.state)
    }

    /// Whether a result fits this batch: its segments cover all of it (the decoder has checked that
    /// they are gap-free), its failures name existing steps, and its numbers of outputs are
    /// possible. Those of partitions cover the first of their elements, each neighbours in a list.
    pub(crate) fn fits(&self, header: &ResultHeader, shape: Shape) -> bool {
        let outcome_fits = |elements: u32, outcome: &Outcome| match outcome {
            Outcome::Done { bytes, counts, lengths, .. } if shape.feeds => {
                *bytes == 0 && counts.is_none() && lengths.is_none()
            }
            Outcome::Done { outputs, counts, .. } if shape.folds => {
                *outputs <= 1 && counts.is_none()
            }
            Outcome::Done { outputs, counts, lengths, .. } => {
                // Nobody needs the counts of outputs behind an exchange.
                let counted = counts.is_some() || (self.queues_outputs && !shape.one_to_one);
                (counted || *outputs == elements)
                    && (counts.is_none() || !shape.one_to_one)
                    && (lengths.is_some() || !shape.measured)
            }
            // A key whose values are too large fails before the first step, if there is one.
            Outcome::Failed { step, .. } => (*step as usize) < shape.steps.max(1),
            Outcome::NotRun { .. } => true,
        };
        let covered = header.segments.last().map_or(0, |last| last.to as usize);
        let tiles = match &self.work {
            Work::Run { batch: Batch::Partitions(partitions), .. } => {
                let in_one = |segment: &Segment| {
                    let offsets = segment.from as usize..segment.to as usize;
                    !matches!(segment.outcome, Outcome::Done { .. })
                        || partitions.are_neighbours(offsets)
                };
                covered <= self.len() && header.segments.iter().all(in_one)
            }
            Work::Run { .. } | Work::Combine { .. } => covered > 0 && covered == self.len(),
        };
        let blocks_fit = |block: &BlockHeader| shape.feeds && (block.first as usize) < covered;
        tiles
            && (header.output_blocks == 0 || self.queues_outputs)
            && header.segments.iter().all(|s| outcome_fits(s.to - s.from, &s.outcome))
            && header.blocks.iter().all(blocks_fit)
    }
}

/// The constraints on the results of a stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// The number of steps.
    pub(crate) steps: usize,
    /// Each segment has at most one output: the partial result of a fold.
    pub(crate) folds: bool,
    /// Each element has exactly one output.
    pub(crate) one_to_one: bool,
    /// The lengths of the outputs are part of the result.
    pub(crate) measured: bool,
    /// The outputs are in blocks.
    pub(crate) feeds: bool,
}

#[cfg(test)]
impl Task {
    /// Numbers all copies 1.
    pub(crate) fn forget_attempts(&mut self) {
        self.attempt = self.attempt.min(1);
        self.copies.iter_mut().for_each(|copy| copy.attempt = 1);
    }
}
