//! A job at the leader.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    error::Error as StdError,
    sync::Arc,
    time::Duration,
};

use super::{
    batch::{Cost, MAX_BATCH_BYTES},
    elements::Elements,
    event::{Progress, Stall},
    flow::MAX_JOB_BYTES,
    fold::{FoldState, FoldTree, LEAF, Partial},
    outputs::OutputParts,
    reorder::ReorderBuffer,
};
use crate::{
    error::ExecuteError,
    id::{JobId, TaskNumber},
    plan::{End, Plan},
    registry::Verb,
    wire::MAX_MESSAGE_BYTES,
};

/// Partial results from this size on are combined as soon as there are two.
const LARGE_PARTIAL: usize = 64 << 10;

/// A job at the leader: everything that it owns but its live tasks.
#[derive(Debug, Clone)]
pub(crate) struct JobState {
    pub(crate) id: JobId,
    pub(crate) plan: Arc<Plan>,
    pub(crate) source: SourceState,
    pub(crate) stages: Vec<StageState>,
    pub(crate) fold: Option<FoldTree>,
    /// Combinations that run on the leader.
    pub(crate) combining: BTreeMap<u64, Vec<Partial>>,
    pub(crate) next_combination: u64,
    /// Outputs of the last stage that came before those in front of them.
    pub(crate) releases: ReorderBuffer<Release>,
    /// Encoded size of the largest partial result so far.
    pub(crate) largest_partial: usize,
    /// Sum of a `count`.
    pub(crate) counted: u64,
    /// What the job holds in bytes: elements that are not settled, outputs that are expected, out
    /// of order or not taken. Partial results of a fold are not among them: they wait for their
    /// neighbours, which must go on coming. There are at most `fan_in` for each task that is out.
    pub(crate) bytes: usize,
    /// The part of `bytes` that are outputs of tasks: expected, out of order, or not taken.
    pub(crate) outgoing: usize,
    /// The part of `bytes` that waits for the reader.
    pub(crate) undelivered: usize,
    /// Its live tasks.
    pub(crate) tasks: BTreeSet<TaskNumber>,
    pub(crate) progress: Progress,
    /// When something last moved.
    pub(crate) moved: Duration,
    pub(crate) stall: Option<Stall>,
    /// Why it fails, once that is decided.
    pub(crate) verdict: Option<Box<ExecuteError>>,
}

/// The source of a job, seen from the leader.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceState {
    /// A pull is under way.
    pub(crate) pulling: bool,
    /// There is nothing more to pull.
    pub(crate) ended: bool,
    /// Why there is nothing more, and at which index, if that is a failure.
    pub(crate) failure: Option<(u64, Arc<dyn StdError + Send + Sync>)>,
    /// How many elements there are, where that is known.
    pub(crate) total: Option<u64>,
}

/// A stage of a job.
#[derive(Debug, Clone, Default)]
pub(crate) struct StageState {
    /// Elements that no task owns yet, in order.
    pub(crate) pending: VecDeque<Elements>,
    pub(crate) pending_elements: u64,
    pub(crate) pending_bytes: usize,
    /// The position of the next element that comes.
    pub(crate) next_position: u64,
    /// Positions that are not settled.
    pub(crate) open: u64,
    /// Tasks whose back-off is over, in front of what is pending.
    pub(crate) due: BTreeSet<TaskNumber>,
    /// Tasks that are out; not those that wait for their back-off, or for credit.
    pub(crate) tasks: u32,
    /// What is pending goes out though it does not fill a batch.
    pub(crate) flush: bool,
    /// Outputs on their way to the next stage that came before those in front of them.
    pub(crate) passing: ReorderBuffer<Passing>,
    pub(crate) cost: Cost,
}

/// Outputs of the last stage, or what stands in their place.
#[derive(Debug, Clone)]
pub(crate) enum Release {
    Outputs(OutputParts),
    /// An element failed for good, and the job fails if it gets that far.
    Failure(Box<ExecuteError>),
}

/// Outputs of an earlier stage, or what stands in their place.
#[derive(Debug, Clone)]
pub(crate) enum Passing {
    /// Encodings, where each ends, and the source index of each.
    Outputs {
        bytes: bytes::Bytes,
        ends: Vec<u32>,
        indexes: Vec<u64>,
    },
    Failure(Box<ExecuteError>),
}

impl JobState {
    pub(crate) fn new(id: JobId, plan: Arc<Plan>, hint: Option<u64>, now: Duration) -> Self {
        let fold = match &plan.end {
            End::Fold { deterministic, .. } => Some(FoldTree::new(*deterministic)),
            _ => None,
        };
        Self {
            id,
            source: SourceState { total: hint, ..SourceState::default() },
            stages: plan.stages.iter().map(|_| StageState::default()).collect(),
            plan,
            fold,
            combining: BTreeMap::new(),
            next_combination: 0,
            releases: ReorderBuffer::default(),
            largest_partial: 0,
            counted: 0,
            bytes: 0,
            outgoing: 0,
            undelivered: 0,
            tasks: BTreeSet::new(),
            progress: Progress { total: hint, ..Progress::default() },
            moved: now,
            stall: None,
            verdict: None,
        }
    }

    pub(crate) fn is_last(&self, stage: usize) -> bool {
        stage + 1 == self.stages.len()
    }

    /// Whether this stage ends in a fold.
    pub(crate) fn folds(&self, stage: usize) -> bool {
        self.is_last(stage) && self.fold.is_some()
    }

    /// Whether the batches of this stage are leaves of a fixed tree.
    pub(crate) fn has_leaves(&self, stage: usize) -> bool {
        self.folds(stage) && matches!(self.plan.end, End::Fold { deterministic: true, .. })
    }

    /// Whether outputs must keep the order of the input.
    pub(crate) fn keeps_order(&self) -> bool {
        matches!(self.plan.end, End::Stream { ordered: true, .. } | End::Fold { .. })
    }

    /// Whether failures wait for their turn: an ordered `take` ignores those beyond its end.
    pub(crate) fn defers_failures(&self) -> bool {
        matches!(self.plan.end, End::Stream { ordered: true, take: Some(_) })
    }

    /// Whether each element of the stage gives exactly one output.
    pub(crate) fn is_one_to_one(&self, stage: usize) -> bool {
        self.plan.stages[stage]
            .steps
            .iter()
            .all(|step| matches!(step.reference.verb, Verb::Map | Verb::TryMap))
    }

    /// Whether nothing more will come into this stage.
    pub(crate) fn is_fed(&self, stage: usize) -> bool {
        self.source.ended && self.stages[..stage].iter().all(|upstream| upstream.open == 0)
    }

    /// Whether everything is settled.
    pub(crate) fn is_settled(&self) -> bool {
        self.source.ended && self.stages.iter().all(|stage| stage.open == 0)
    }

    /// Elements of this stage that no task has been made of, where that is known.
    pub(crate) fn remaining(&self, stage: usize) -> Option<u64> {
        let pending = self.stages[stage].pending_elements;
        if self.is_fed(stage) {
            return Some(pending);
        }
        if stage > 0 {
            return None;
        }
        Some(pending + self.source.total?.saturating_sub(self.stages[0].next_position))
    }

    /// Elements that come into a stage.
    pub(crate) fn feed(&mut self, stage: usize, elements: Elements) {
        let state = &mut self.stages[stage];
        debug_assert_eq!(elements.first(), state.next_position, "positions are given out in order");
        let count = elements.len() as u64;
        state.next_position += count;
        state.open += count;
        state.pending_elements += count;
        state.pending_bytes += elements.bytes().len();
        self.bytes += elements.held();
        state.pending.push_back(elements);
    }

    /// Whether a batch of `wanted` elements should be cut now; `slots` idle while fewer tasks are out.
    pub(crate) fn is_ripe(&self, stage: usize, wanted: u64, slots: u32) -> bool {
        let state = &self.stages[stage];
        if state.pending_elements == 0 {
            return false;
        }
        if self.has_leaves(stage) {
            return state.pending_elements >= u64::from(LEAF) || self.is_fed(stage);
        }
        state.pending_elements >= wanted
            || state.pending_bytes >= MAX_BATCH_BYTES
            || state.flush
            || self.is_fed(stage)
            || (stage > 0 && state.tasks < slots.max(1))
    }

    /// Whether new tasks of this stage would only add to what nobody takes. Whoever waits for this
    /// waits for something that moves: a task, a later stage, or the reader.
    pub(crate) fn is_full(&self, stage: usize) -> bool {
        if self.is_last(stage) {
            let moves = self.undelivered > 0 || self.stages[stage].tasks > 0;
            return self.outgoing >= MAX_JOB_BYTES && moves;
        }
        let later = &self.stages[stage + 1..];
        let moves = later
            .iter()
            .any(|state| state.tasks > 0 || !state.due.is_empty() || state.pending_elements > 0);
        self.bytes >= MAX_JOB_BYTES && moves
    }

    /// The size of the next leaf, if no message could hold it.
    pub(crate) fn oversized_leaf(&self, stage: usize) -> Option<u64> {
        if !self.has_leaves(stage) {
            return None;
        }
        let (mut left, mut size) = (LEAF as usize, 0);
        for elements in &self.stages[stage].pending {
            let count = left.min(elements.len());
            size += elements.size_of_first(count) as u64;
            left -= count;
        }
        (size > MAX_MESSAGE_BYTES as u64).then_some(size)
    }

    /// Takes the next batch: up to `wanted` elements, up to the size of a message.
    pub(crate) fn cut(&mut self, stage: usize, wanted: u64) -> Option<Elements> {
        let leaves = self.has_leaves(stage);
        let (mut left, mut room) = if leaves {
            (LEAF as usize, usize::MAX)
        } else {
            (usize::try_from(wanted).unwrap_or(usize::MAX), MAX_BATCH_BYTES)
        };
        let state = &mut self.stages[stage];
        let mut parts = Vec::new();
        while left > 0
            && let Some(front) = state.pending.front_mut()
        {
            if !parts.is_empty() && front.size_of_first(1) > room {
                break;
            }
            let count = front.fitting(room).min(left);
            let part = front.slice(0..count);
            if count == front.len() {
                state.pending.pop_front();
            } else {
                *front = front.slice(count..front.len());
            }
            left -= count;
            room = room.saturating_sub(part.bytes().len());
            parts.push(part);
        }
        let batch = Elements::join(parts)?;
        state.pending_elements -= batch.len() as u64;
        state.pending_bytes -= batch.bytes().len();
        Some(batch)
    }

    /// Positions that are settled; their input bytes are free.
    pub(crate) fn settle(&mut self, stage: usize, elements: &Elements) {
        let count = elements.len() as u64;
        let state = &mut self.stages[stage];
        debug_assert!(state.open >= count, "each position is settled once");
        state.open -= count;
        self.free(elements.held());
        if stage == 0 {
            self.progress.done += count;
        }
    }

    pub(crate) fn free(&mut self, bytes: usize) {
        debug_assert!(self.bytes >= bytes, "bytes are freed once");
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Whether nothing is counted any more but what waits for the reader.
    pub(crate) fn accounts_balance(&self) -> bool {
        self.bytes == self.undelivered && self.outgoing == self.undelivered
    }

    /// Neighbouring partial results that are to be combined now.
    pub(crate) fn next_combination(&mut self) -> Option<Vec<Partial>> {
        let last = self.stages.len() - 1;
        let state = &self.stages[last];
        // Where combining takes long, pairs keep most slots busy; where it is quick, wide runs
        // save messages.
        let slow = state.cost.per_element().is_some_and(|cost| cost > Duration::from_millis(1));
        // Large ones are not hoarded either.
        let slow = slow || self.largest_partial >= LARGE_PARTIAL;
        let fold_state = FoldState {
            fan_in: if slow { 2 } else { 8 },
            total: self.is_fed(last).then_some(state.next_position),
            complete: self.is_settled(),
        };
        self.fold.as_mut()?.ready(fold_state)
    }
}
