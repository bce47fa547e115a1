//! The state of a job: its sources, stages, outputs, fold and account.

use std::{error::Error as StdError, num::NonZeroU32, ops::Range, sync::Arc, time::Duration};

use super::{
    Batch, Elements, ExchangeState, JobAccount, JobOutput, MAX_JOB_BYTES, Onward, OutputBlock,
    OutputQueues, Partitions, Passage, ReorderBuffer, StageOutput, StageState,
};
use crate::{
    broker::{PublishError, ShuffleQueue},
    error::{Error, ShuffleError, ShuffleFailure},
    id::{JobId, TaskNumber},
    leader::engine::{
        event::{ExchangeProgress, Progress, Stall},
        flow::{ExchangeId, Sizing},
        fold::{FoldState, FoldTree, LEAF, Partial},
        protocol::DeadLettering,
        table::{Charge, Task, Work},
    },
    plan::{End, Exchange, ExchangeKind, Inlet, MAX_BRANCHES, Outlet, Plan},
    wire::{ListEnd, MAX_MESSAGE_BYTES, list_position},
};

/// How many partial results a task combines at most, so that few messages are needed and the first
/// of them do not wait for long.
const FAN_IN: usize = 256;

/// The place of a position in the order of the outputs: the number of its branch, then the
/// position. No stage has as many positions as fit below the number.
fn place_in_branch(branch: usize, position: u64) -> u64 {
    const { assert!(MAX_BRANCHES <= 1 << (u64::BITS - POSITION_BITS)) }
    ((branch as u64) << POSITION_BITS) | position
}

/// The position at this place in the order of the outputs.
pub(crate) fn in_branch(place: u64) -> u64 {
    place & ((1 << POSITION_BITS) - 1)
}

const POSITION_BITS: u32 = 54;

/// The state of a job, except its live tasks, which the task table owns.
#[derive(Debug, Clone)]
pub(crate) struct JobState {
    pub(crate) id: JobId,
    pub(crate) plan: Arc<Plan>,
    pub(crate) dead_lettering: DeadLettering,
    /// Whether anybody reads the events of the job.
    pub(crate) is_watched: bool,
    pub(crate) sources: Vec<SourceProgress>,
    pub(crate) stages: Vec<StageState>,
    pub(crate) exchanges: Vec<ExchangeState>,
    pub(crate) account: JobAccount,
    pub(crate) fold: Option<FoldTree>,
    /// The outputs of the last stages that wait for their predecessors.
    pub(crate) reorder: ReorderBuffer<JobOutput>,
    /// The outputs that wait in queues.
    pub(crate) output_queues: OutputQueues,
    /// The value of a `count` so far.
    pub(crate) counted: u64,
    /// For each source, its elements on their way through the stages.
    passages: Vec<Passage>,
    /// For each branch, whether its end is known to `fold` and `reorder`.
    closed: Vec<bool>,
    /// The number of outputs that were handed to the reader.
    pub(crate) outputs: u64,
    /// When the job last made progress, in wall time.
    pub(crate) last_progress: Duration,
    pub(crate) stall: Option<Stall>,
    /// When a task of the job was lost for the second time in a row, in wall time; checked, and
    /// reset, when stalls are looked for.
    pub(crate) losing_since: Option<Duration>,
    /// The error of the job, once one is decided. The job ends in the same step.
    verdict: Verdict,
}

/// The state of the source of a job.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceProgress {
    /// Whether a pull is under way.
    pub(crate) pulling: bool,
    /// Whether the source has no more elements.
    pub(crate) ended: bool,
    /// The error that ended the source, and the source index at which it occurred.
    pub(crate) failure: Option<(u64, Arc<dyn StdError + Send + Sync>)>,
    /// The number of elements; `None` if it is not known in advance.
    pub(crate) total: Option<u64>,
}

impl SourceProgress {
    fn new(total: Option<u64>) -> Self {
        Self { total, ..Self::default() }
    }
}

#[derive(Debug, Default)]
struct Verdict(Option<Error>);

impl Clone for Verdict {
    /// Clones as `None`: engines are cloned only between two steps, when no error is pending.
    fn clone(&self) -> Self {
        debug_assert!(self.0.is_none(), "the step that decides an error ends the job");
        Self(None)
    }
}

impl JobState {
    pub(crate) fn new(
        id: JobId,
        plan: Arc<Plan>,
        hints: &[Option<u64>],
        dead_lettering: DeadLettering,
        now: Duration,
    ) -> Self {
        let fold = match &plan.end {
            End::Fold { deterministic, .. } => Some(FoldTree::new(*deterministic)),
            _ => None,
        };
        Self {
            id,
            sources: (0..plan.sources())
                .map(|source| SourceProgress::new(hints.get(source).copied().flatten()))
                .collect(),
            stages: plan.stages.iter().map(|_| StageState::default()).collect(),
            exchanges: plan
                .exchanges
                .iter()
                .map(|exchange| ExchangeState::new(exchange.kind.name()))
                .collect(),
            account: JobAccount::default(),
            dead_lettering,
            is_watched: true,
            fold,
            reorder: ReorderBuffer::default(),
            output_queues: OutputQueues::default(),
            counted: 0,
            passages: vec![Passage::default(); plan.sources()],
            closed: vec![false; plan.branches()],
            outputs: 0,
            last_progress: now,
            stall: None,
            losing_since: None,
            verdict: Verdict::default(),
            plan,
        }
    }

    /// Decides that the job fails; the first error counts.
    pub(crate) fn fail(&mut self, error: impl Into<Error>) {
        self.verdict.0.get_or_insert_with(|| error.into());
    }

    /// Decides that the job fails at an exchange.
    pub(crate) fn fail_shuffle(&mut self, exchange: usize, failure: ShuffleFailure) {
        let directive = self.plan.exchanges[exchange].kind.name();
        self.fail(Box::new(ShuffleError::new(self.id, directive, failure)));
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.verdict.0.is_some()
    }

    pub(crate) fn take_verdict(&mut self) -> Option<Error> {
        self.verdict.0.take()
    }

    /// Whether the outputs of this stage are those of the job.
    pub(crate) fn is_last(&self, stage: usize) -> bool {
        self.plan.is_last(stage)
    }

    /// Whether this stage ends in a fold.
    pub(crate) fn folds(&self, stage: usize) -> bool {
        self.is_last(stage) && self.fold.is_some()
    }

    /// Whether the batches of this stage are leaves of a fixed tree.
    pub(crate) fn has_leaves(&self, stage: usize) -> bool {
        self.folds(stage) && matches!(self.plan.end, End::Fold { deterministic: true, .. })
    }

    /// The sources that may be pulled now, if they have not ended. Those of an ordered stream are
    /// pulled one after the other: what the later ones bring would only wait.
    pub(crate) fn sources_to_pull(&self) -> Range<usize> {
        if self.sources.iter().any(|source| source.failure.is_some()) {
            return 0..0;
        }
        if let End::Stream { ordered: true, .. } = self.plan.end
            && self.plan.exchanges.is_empty()
        {
            let first = self.sources.iter().position(|source| !source.ended);
            return first.map_or(0..0, |first| first..first + 1);
        }
        0..self.sources.len()
    }

    /// The source whose failure ends the job now: all outputs that precede it have been handed out.
    pub(crate) fn failed_source(&self) -> Option<usize> {
        let failed = self.sources.iter().position(|source| source.failure.is_some())?;
        let first = match self.plan.end {
            End::Stream { ordered: true, .. } => 0,
            End::Stream { .. } => failed,
            // Without all elements there is no value.
            End::Top { .. } | End::Fold { .. } | End::Count => return Some(failed),
        };
        if !self.plan.exchanges.is_empty() {
            // What is behind an exchange needs all elements before it.
            return Some(failed);
        }
        let precedes = |stage: &usize| match self.plan.origin(*stage) {
            Inlet::Source(source) => (first..=failed).contains(&source),
            Inlet::Exchange(_) | Inlet::Stage(_) => false,
        };
        let mut preceding = (0..self.stages.len()).filter(precedes);
        preceding.all(|stage| self.stages[stage].is_settled()).then_some(failed)
    }

    /// Whether the outputs of a stage must keep the order of the input.
    pub(crate) fn keeps_order(&self, stage: usize) -> bool {
        let last = self.plan.after(stage).last().unwrap_or(stage);
        if self.plan.after(stage).any(|later| self.plan.stages[later].numbered) {
            return true;
        }
        match self.plan.outlet(last) {
            Outlet::End(_) => {
                matches!(self.plan.end, End::Stream { ordered: true, .. } | End::Fold { .. })
            }
            // The values of one key keep the order of the input.
            Outlet::Exchange { .. } | Outlet::Stage(_) => true,
        }
    }

    /// The exchange that this stage feeds, and after how many bytes of blocks its next task should
    /// stop, if they travel in its result.
    pub(crate) fn block_cap(&self, stage: usize) -> Option<(ExchangeId, usize)> {
        let exchange = self.fed_by(stage)?;
        let state = &self.exchanges[exchange];
        let cap = usize::try_from(state.cap()).unwrap_or(usize::MAX);
        state.queues().is_none().then_some(((self.id, exchange), cap))
    }

    /// The exchange and the partitions that a task reads from queues.
    pub(crate) fn queues_read_by(&self, task: &Task) -> Option<(usize, Vec<u32>)> {
        let Work::Run { batch: Batch::Partitions(read), .. } = &task.work else { return None };
        let exchange = self.read_by(task.stage)?;
        self.exchanges[exchange].queues()?;
        Some((exchange, read.partitions()))
    }

    /// Whether a task may go out now as far as queues are concerned: those that it reads have no
    /// other reader (rule 35).
    pub(crate) fn may_read(&self, task: &Task) -> bool {
        self.queues_read_by(task).is_none_or(|(exchange, partitions)| {
            self.exchanges[exchange].queues().is_none_or(|queues| queues.are_free(&partitions))
        })
    }

    /// The bytes of all blocks that the job has written to queues, and of the outputs that are in
    /// queues.
    pub(crate) fn shuffled_bytes(&self) -> u64 {
        let spread = self.exchanges.iter().filter(|exchange| exchange.queues().is_some());
        let bytes = spread.map(|exchange| exchange.written().bytes);
        bytes.fold(self.output_queues.unread(), u64::saturating_add)
    }

    /// The bytes of the blocks that the queues of the job have.
    pub(crate) fn queued_bytes(&self) -> u64 {
        let has_any = |exchange: &&ExchangeState| {
            exchange.queues().is_some_and(|queues| queues.live().next().is_some())
        };
        let spread = self.exchanges.iter().filter(has_any);
        let bytes = spread.map(|exchange| exchange.written().bytes);
        bytes.fold(self.output_queues.unread(), u64::saturating_add)
    }

    /// The names of queues of partitions.
    pub(crate) fn queue_names(
        &self,
        exchange: usize,
        partitions: impl IntoIterator<Item = u32>,
    ) -> Vec<ShuffleQueue> {
        let (job, exchange) = (self.id, exchange as u32);
        let name = |partition| ShuffleQueue::Partition { job, exchange, partition };
        partitions.into_iter().map(name).collect()
    }

    /// The names of the queues of tasks.
    pub(crate) fn output_queue_names(
        &self,
        tasks: impl IntoIterator<Item = TaskNumber>,
    ) -> Vec<ShuffleQueue> {
        let job = self.id;
        tasks.into_iter().map(|task| ShuffleQueue::Output { job, task }).collect()
    }

    /// Whether the outputs of tasks of this stage may go through queues: they are those of the job,
    /// and who goes on in another task reads a spread exchange again.
    pub(crate) fn may_queue_outputs(&self, stage: usize) -> bool {
        let reads_queues = |exchange: usize| self.exchanges[exchange].queues().is_some();
        self.is_last(stage)
            && matches!(self.plan.end, End::Stream { .. })
            && self.read_by(stage).is_some_and(reads_queues)
    }

    /// Whether this stage feeds an exchange.
    pub(crate) fn feeds(&self, stage: usize) -> bool {
        self.fed_by(stage).is_some()
    }

    /// The exchange that this stage feeds.
    pub(crate) fn fed_by(&self, stage: usize) -> Option<usize> {
        match self.plan.outlet(stage) {
            Outlet::Exchange { exchange, .. } => Some(exchange),
            Outlet::Stage(_) | Outlet::End(_) => None,
        }
    }

    /// The exchange that this stage reads.
    pub(crate) fn read_by(&self, stage: usize) -> Option<usize> {
        match self.plan.inlet(stage) {
            Inlet::Exchange(exchange) => Some(exchange),
            Inlet::Source(_) | Inlet::Stage(_) => None,
        }
    }

    /// Whether failures in a stage wait for their place in the order: an ordered `take` ignores
    /// those after its end.
    pub(crate) fn defers_failures(&self, stage: usize) -> bool {
        let last = self.plan.after(stage).last().unwrap_or(stage);
        self.is_last(last) && matches!(self.plan.end, End::Stream { ordered: true, take: Some(_) })
    }

    /// Whether each element of the stage has exactly one output in a result.
    pub(crate) fn is_one_to_one(&self, stage: usize) -> bool {
        let is_trimmed = self.is_last(stage) && matches!(self.plan.end, End::Top { .. });
        !is_trimmed
            && self.plan.stages[stage].steps.iter().all(|step| step.reference.verb.is_one_to_one())
    }

    /// Whether no more elements will enter this stage.
    pub(crate) fn is_fed(&self, stage: usize) -> bool {
        let ended = match self.plan.origin(stage) {
            Inlet::Source(source) => self.sources[source].ended,
            Inlet::Exchange(exchange) => self.exchanges[exchange].is_sealed(),
            Inlet::Stage(_) => false,
        };
        ended && self.plan.before(stage).all(|feeder| self.stages[feeder].is_settled())
    }

    /// Whether all elements of the sources have passed all stages, and no outputs wait in queues.
    pub(crate) fn is_settled(&self) -> bool {
        self.sources.iter().all(|source| source.ended)
            && self.exchanges.iter().all(ExchangeState::is_sealed)
            && self.stages.iter().all(StageState::is_settled)
            && !self.output_queues.has_outputs()
    }

    /// The number of elements of this stage that no task owns yet; `None` if it is not known.
    pub(crate) fn remaining(&self, stage: usize) -> Option<u64> {
        let state = &self.stages[stage];
        if self.read_by(stage).is_some() {
            // Only the tasks that read lists find out how long they are.
            return None;
        }
        if self.is_fed(stage) {
            return Some(state.pending_elements());
        }
        let Inlet::Source(source) = self.plan.inlet(stage) else { return None };
        let unread = self.sources[source].total?.saturating_sub(state.next_position());
        Some(state.pending_elements() + unread)
    }

    /// Whether outputs have the numbers in which they are handed out as their indexes: elements of
    /// several sources may have equal ones, and those behind an exchange have none.
    pub(crate) fn numbers_outputs(&self) -> bool {
        self.plan.sources() > 1 || !self.plan.exchanges.is_empty()
    }

    /// The place of a position of a last stage in the order of the outputs: branch after branch.
    pub(crate) fn place(&self, stage: usize, position: u64) -> u64 {
        match self.plan.outlet(stage) {
            Outlet::End(branch) => place_in_branch(branch, position),
            Outlet::Stage(_) | Outlet::Exchange { .. } => position,
        }
    }

    /// One past the last position of a stage that is fed.
    fn end_of(&self, stage: usize) -> u64 {
        match self.read_by(stage) {
            Some(exchange) => list_position(self.exchanges[exchange].count(), 0),
            None => self.stages[stage].next_position(),
        }
    }

    /// Seals an exchange if all that feeds it is settled, and returns what was written to it. Its
    /// lists enter the stage that reads it.
    pub(crate) fn seal(&mut self, exchange: usize) -> Option<ExchangeProgress> {
        let plan = Arc::clone(&self.plan);
        let Exchange { kind, feeders, reader, partitions, .. } = &plan.exchanges[exchange];
        let settled = |stage: &usize| self.is_fed(*stage) && self.stages[*stage].is_settled();
        let state = &self.exchanges[exchange];
        if state.is_sealed() || !feeders.iter().all(settled) || !state.is_complete() {
            return None;
        }
        if let (ExchangeKind::Zip, [first, second]) = (kind, &feeders[..]) {
            // All that has entered them has been numbered.
            let length = |stage: &usize| self.stages[*stage].next_position();
            let (job, first, second) = (self.id, length(first), length(second));
            if first != second {
                self.fail(Error::UnequalLengths { job, first, second });
            }
        }
        let state = &mut self.exchanges[exchange];
        // Nothing has been sent if there was no element.
        state.partitions(partitions.map(NonZeroU32::get), 0);
        let lists = state.seal();
        let written = state.written();
        let empty: Vec<u32> =
            (0..written.partitions).filter(|it| state.elements(*it).is_some()).collect();
        self.stages[*reader].feed_lists(lists);
        empty.into_iter().for_each(|partition| self.join_lists(*reader, partition, 0));
        Some(written)
    }

    /// The length of the list of a partition is known.
    pub(crate) fn close_list(&mut self, stage: usize, list: &ListEnd) {
        let Some(exchange) = self.read_by(stage) else { return };
        if self.exchanges[exchange].elements(list.partition).is_none() {
            self.exchanges[exchange].close(list.partition, list.elements);
            self.stages[stage].close_list(list.elements);
            self.join_lists(stage, list.partition, list.elements);
        }
    }

    /// Joins the end of the list of a partition to the beginning of the next one.
    fn join_lists(&mut self, stage: usize, partition: u32, elements: u64) {
        if self.keeps_order(stage) {
            let (from, to) = (list_position(partition, elements), list_position(partition + 1, 0));
            self.join(stage, self.place(stage, from), self.place(stage, to));
        }
    }

    /// There are no positions between these, in the order of the outputs of a stage.
    fn join(&mut self, stage: usize, from: u64, to: u64) {
        match &mut self.fold {
            _ if from == to || matches!(self.plan.outlet(stage), Outlet::Exchange { .. }) => {}
            _ if !self.plan.is_last(stage) => {
                self.account.buffer(0);
                self.stages[stage].reorder.insert(from, to, StageOutput::empty());
            }
            Some(fold) => fold.insert(Partial::new(from, to, None)),
            None => self.reorder.insert(from, to, JobOutput::Outputs(OutputBlock::default())),
        }
    }

    /// Joins the end of each branch that is known by now to the beginning of the next one.
    pub(crate) fn close_branches(&mut self) {
        if self.closed.len() < 2 || !self.keeps_order(self.stages.len() - 1) {
            return;
        }
        for stage in 0..self.stages.len() {
            let Outlet::End(branch) = self.plan.outlet(stage) else { continue };
            if self.closed[branch] || !self.is_fed(stage) {
                continue;
            }
            self.closed[branch] = true;
            if branch + 1 == self.closed.len() {
                continue;
            }
            let from = self.place(stage, self.end_of(stage));
            self.join(stage, from, place_in_branch(branch + 1, 0));
        }
    }

    /// The place after all outputs, once it is known.
    pub(crate) fn last_place(&self) -> Option<u64> {
        let last = self.stages.len() - 1;
        let fed = (0..=last).filter(|stage| self.is_last(*stage)).all(|stage| self.is_fed(stage));
        fed.then(|| self.place(last, self.end_of(last)))
    }

    /// Puts elements into a stage.
    pub(crate) fn feed(&mut self, stage: usize, mut elements: Elements) {
        if self.plan.stages[stage].numbered {
            elements = match elements.numbered(self.plan.layout(stage)) {
                Ok(numbered) => numbered,
                Err(size) => return self.fail(self.too_large(&elements, size)),
            };
        }
        self.account.feed(&elements);
        self.stages[stage].feed(elements);
    }

    /// The error for elements whose encodings with their numbers have this size together.
    fn too_large(&self, elements: &Elements, size: u64) -> Error {
        let source = PublishError::TooLarge { size, limit: MAX_MESSAGE_BYTES as u64 };
        let (operation, index) = ("enumerate".to_owned(), elements.index(0));
        Error::Submit { job: self.id, operation, index, group: None, source }
    }

    /// Whether a batch of up to `wanted` elements should be cut now. Slots are idle while fewer
    /// tasks are out than there are slots.
    pub(crate) fn is_ready(&self, stage: usize, wanted: u64, sizing: &Sizing) -> bool {
        let state = &self.stages[stage];
        if state.pending_elements() == 0 {
            return false;
        }
        if self.has_leaves(stage) {
            return state.pending_elements() >= u64::from(LEAF) || self.is_fed(stage);
        }
        state.fills(wanted, sizing.bytes())
            || state.flush
            || self.is_fed(stage)
            || (matches!(self.plan.inlet(stage), Inlet::Stage(_))
                && state.tasks_out() < sizing.slots.max(1))
    }

    /// Whether new tasks of this stage would only add to outputs that wait. A full stage always has
    /// something in front of it that drains: a task, a later stage, or the reader. `has_due`
    /// returns whether a task of a stage waits for credit.
    pub(crate) fn is_full(&self, stage: usize, has_due: impl Fn(usize) -> bool) -> bool {
        if self.feeds(stage) {
            // Blocks have their own limit.
            return false;
        }
        if self.is_last(stage) {
            let drains = self.account.undelivered() > 0
                || self.stages[stage].tasks_out() > 0
                || self.output_queues.is_waiting();
            return self.account.outgoing() >= MAX_JOB_BYTES && drains;
        }
        let drains = self.plan.after(stage).any(|later| {
            let state = &self.stages[later];
            state.tasks_out() > 0 || has_due(later) || state.has_pending()
        });
        self.account.held() >= MAX_JOB_BYTES && drains
    }

    /// The encoded size of the next leaf in bytes, if no message can hold it.
    pub(crate) fn oversized_leaf(&self, stage: usize) -> Option<u64> {
        let size =
            self.has_leaves(stage).then(|| self.stages[stage].size_of_first(LEAF as usize))?;
        (size > MAX_MESSAGE_BYTES as u64).then_some(size)
    }

    /// Takes the next lists of partitions for a task of a stage that reads an exchange.
    pub(crate) fn cut_lists(&mut self, stage: usize, slots: u32) -> Option<Partitions> {
        let bytes = self.exchanges[self.read_by(stage)?].task_bytes(slots);
        self.stages[stage].cut_lists(bytes)
    }

    /// Takes the next batch: up to `wanted` elements, and up to `bytes` unless one is larger.
    pub(crate) fn cut(&mut self, stage: usize, wanted: u64, bytes: usize) -> Option<Elements> {
        if self.has_leaves(stage) {
            // A leaf is one batch, whatever its size.
            return self.stages[stage].cut(LEAF as usize, usize::MAX);
        }
        self.stages[stage].cut(usize::try_from(wanted).unwrap_or(usize::MAX), bytes)
    }

    /// Settles the positions of elements, and frees their bytes. Those of an exchange are in the
    /// list of one partition.
    pub(crate) fn settle(&mut self, stage: usize, batch: &Batch, onward: Onward<'_>) {
        self.stages[stage].settle(batch.len() as u64);
        self.account.settle(batch);
        if let Some(exchange) = self.read_by(stage) {
            self.exchanges[exchange].settle(batch.first(), batch.len() as u64);
        }
        if let Inlet::Source(source) = self.plan.origin(stage)
            && let Batch::Elements(elements) = batch
        {
            match self.plan.inlet(stage) {
                Inlet::Source(_) => self.passages[source].settle_first(elements, onward),
                _ => self.passages[source].settle_later(elements, onward),
            }
        }
    }

    /// The progress of the job, which is not over.
    pub(crate) fn progress(&self) -> Progress {
        let stages: Vec<_> = self.stages.iter().map(StageState::progress).collect();
        Progress {
            total: self.sources.iter().map(|source| source.total).sum(),
            pulled: (0..self.sources.len())
                .filter_map(|source| Some(stages.get(self.plan.fed_by(source))?.entered))
                .sum(),
            done: self.passages.iter().map(Passage::through).sum(),
            failed: stages.iter().map(|stage| stage.failed).sum(),
            retried: stages.iter().map(|stage| stage.retried).sum(),
            tasks_out: stages.iter().map(|stage| stage.tasks_out).sum(),
            outputs: self.outputs,
            exchanges: self.exchanges.iter().map(ExchangeState::written).collect(),
            stages,
            ended: false,
        }
    }

    /// Charges the job for a task of this stage that went out.
    pub(crate) fn charge_task(&mut self, stage: usize, charge: Charge) {
        self.account.expect(charge.output);
        self.stages[stage].tasks_out += 1;
    }

    /// Releases the charge of a task of this stage that is no longer out.
    pub(crate) fn release_task(&mut self, stage: usize, charge: Charge) {
        self.account.stop_expecting(charge.output);
        self.stages[stage].tasks_out -= 1;
    }

    /// Neighbouring partial results that are to be combined now.
    pub(crate) fn next_combination(&mut self) -> Option<Vec<Partial>> {
        let last = self.stages.len() - 1;
        let state = &self.stages[last];
        // If combining is slow, pairs keep the most slots busy. If it is quick, wide combinations
        // save messages.
        let slow =
            state.combining.per_element().is_some_and(|cost| cost > Duration::from_millis(1));
        let fold_state = FoldState {
            wanted: if slow { 2 } else { FAN_IN },
            total: self.last_place(),
            complete: self.is_settled(),
        };
        self.fold.as_mut()?.ready(fold_state)
    }
}

#[cfg(test)]
impl JobState {
    /// Seals an exchange although what feeds it may not be settled.
    pub(crate) fn seal_early(&mut self) {
        let plan = Arc::clone(&self.plan);
        for (exchange, state) in plan.exchanges.iter().zip(&mut self.exchanges) {
            if self.sources[0].ended && state.count() > 0 && !state.is_sealed() {
                let lists = state.seal();
                self.stages[exchange.reader].feed_lists(lists);
            }
        }
    }
}
