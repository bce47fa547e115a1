//! What becomes of outputs: to the reader, to the next stage, into the fold.

use std::time::Duration;

use bytes::Bytes;

use super::{Engine, blame::Run};
use crate::{
    codec,
    error::Error,
    id::{JobId, TaskNumber},
    leader::engine::{
        elements::Elements,
        flow::Lane,
        fold::Partial,
        job::{JobState, Passing, Release},
        outputs::{Indexes, OutputParts},
        protocol::Action,
        task::{Task, Work},
    },
    operation::OperationError,
    plan::End,
};

/// Partial results below this are combined on the leader: a message would cost more.
const SMALL_PARTIAL: usize = 4 << 10;
/// … if combining is this quick; what takes longer is what the fleet is for.
const QUICK: Duration = Duration::from_micros(100);
/// Partial results whose sum is above this are combined on the leader: no message could hold them
/// on every broker.
const LARGE_COMBINATION: usize = 8 << 20;

/// What the credit of a job counts for anything that is held, beside its bytes: runs without outputs
/// and failures must not pile up behind a slow element.
pub(super) const HELD: usize = 256;

/// The outputs of a gap-free run of elements.
pub(super) struct Outputs<'a> {
    pub(super) values: Bytes,
    pub(super) count: u32,
    /// Outputs of each element; `None` where each has exactly one, and for folds.
    pub(super) counts: Option<&'a [u32]>,
    /// The length of each output, where they go on.
    pub(super) lengths: Option<&'a [u32]>,
}

impl Engine {
    /// Elements are through a stage: settled here, their outputs owned by what comes next.
    pub(super) fn done(
        &mut self,
        job: &mut JobState,
        stage: usize,
        part: &Elements,
        outputs: Outputs<'_>,
    ) {
        job.settle(stage, part);
        let (from, to) = (part.first(), part.end());
        if !job.is_last(stage) {
            let indexes = each_index(part, outputs.counts);
            let mut end = 0;
            let lengths = outputs.lengths.unwrap_or_default().iter();
            let ends = lengths
                .map(|length| {
                    end += length;
                    end
                })
                .collect();
            let passing = Passing::Outputs { bytes: outputs.values, ends, indexes };
            if job.keeps_order() {
                job.bytes += passing.size();
                job.stages[stage].passing.insert(from, to, passing);
                self.release_passing(job, stage);
            } else {
                self.pass(job, stage, passing);
            }
            return;
        }
        match job.plan.end {
            End::Count => job.counted += u64::from(outputs.count),
            End::Fold { .. } => {
                let bytes = (outputs.count > 0).then_some(outputs.values);
                let size = bytes.as_ref().map_or(0, Bytes::len);
                job.largest_partial = job.largest_partial.max(size);
                if let Some(fold) = &mut job.fold {
                    fold.insert(Partial::new(from, to, bytes));
                }
            }
            End::Stream { ordered, .. } => {
                let indexes = match outputs.counts {
                    None if part.index_is_position() => Indexes::Range { first: part.index(0) },
                    counts => Indexes::Each(each_index(part, counts)),
                };
                let listed = if let Indexes::Each(all) = &indexes { all.len() * 8 } else { 0 };
                let charged = outputs.values.len() + listed + HELD;
                let parts =
                    OutputParts { values: outputs.values, count: outputs.count, indexes, charged };
                job.bytes += charged;
                job.outgoing += charged;
                if ordered {
                    job.releases.insert(from, to, Release::Outputs(parts));
                    self.release_outputs(job);
                } else {
                    self.output(job, parts);
                }
            }
        }
    }

    /// Elements of a plan without steps are their own outputs.
    pub(super) fn pass_through(&mut self, job: &mut JobState) {
        if !job.plan.stages[0].steps.is_empty() {
            return;
        }
        while let Some(elements) = job.cut(0, u64::MAX) {
            let (values, count) = (elements.bytes().clone(), elements.len() as u32);
            let lengths = elements.lengths();
            let outputs = Outputs { values, count, counts: None, lengths: Some(&lengths) };
            self.done(job, 0, &elements, outputs);
        }
    }

    fn output(&mut self, job: &mut JobState, outputs: OutputParts) {
        if outputs.count == 0 {
            job.free(outputs.charged);
            job.outgoing = job.outgoing.saturating_sub(outputs.charged);
            return;
        }
        job.undelivered += outputs.charged;
        job.progress.outputs += u64::from(outputs.count);
        self.actions.push(Action::Output { job: job.id, outputs });
    }

    /// Hands out what is next in order.
    pub(super) fn release_outputs(&mut self, job: &mut JobState) {
        while let Some(release) = job.releases.release() {
            match release {
                Release::Outputs(outputs) => self.output(job, outputs),
                Release::Failure(error) => {
                    job.free(HELD);
                    if !taken_all(job) {
                        job.verdict.get_or_insert(error);
                    }
                }
            }
        }
    }

    /// Passes on to the next stage what is next in order.
    pub(super) fn release_passing(&mut self, job: &mut JobState, stage: usize) {
        while let Some(passing) = job.stages[stage].passing.release() {
            job.free(passing.size());
            self.pass(job, stage, passing);
        }
    }

    fn pass(&mut self, job: &mut JobState, stage: usize, passing: Passing) {
        let position = job.stages[stage + 1].next_position;
        match passing {
            Passing::Outputs { ends, .. } if ends.is_empty() => {}
            Passing::Outputs { bytes, ends, indexes } => {
                job.feed(stage + 1, Elements::passed(position, bytes, ends, indexes));
            }
            Passing::Failure(error) => {
                job.stages[stage + 1].next_position += 1;
                self.fail_in_order(job, stage + 1, position, error);
            }
        }
    }

    /// Does what follows from what has happened to a job; its result, if that ends it.
    pub(super) fn advance(&mut self, job: &mut JobState) -> Option<Result<(), Error>> {
        if taken_all(job) {
            return Some(Ok(()));
        }
        if let Some(error) = job.verdict.take() {
            return Some(Err(Error::Execute(error)));
        }
        let streams = matches!(job.plan.end, End::Stream { .. });
        if !streams && job.source.failure.is_some() {
            return input_failed(job).map(Err);
        }
        while let Some(partials) = job.next_combination() {
            self.combine(job, partials);
        }
        if !job.is_settled() {
            return None;
        }
        let value = match &job.plan.end {
            // What came before the failure of the input has been handed out; now the failure.
            End::Stream { .. } => return Some(input_failed(job).map_or(Ok(()), Err)),
            End::Count => Some(Bytes::from(codec::encode(&job.counted).unwrap_or_default())),
            End::Fold { empty, .. } => {
                let last = job.stages.len() - 1;
                let whole = job.fold.as_ref()?.finished(job.stages[last].next_position)?;
                whole.or_else(|| empty.clone())
            }
        };
        if let Some(values) = value {
            let indexes = Indexes::Range { first: 0 };
            self.output(job, OutputParts { values, count: 1, indexes, charged: 0 });
        }
        Some(Ok(()))
    }

    /// Has neighbouring partial results combined, here or on a worker.
    fn combine(&mut self, job: &mut JobState, partials: Vec<Partial>) {
        let last = job.stages.len() - 1;
        let sizes = || partials.iter().filter_map(|partial| partial.bytes.as_ref()).map(Bytes::len);
        let small = sizes().all(|size| size < SMALL_PARTIAL);
        let quick = job.stages[last].cost.per_element().is_some_and(|cost| cost < QUICK);
        if (small && quick) || sizes().sum::<usize>() > LARGE_COMBINATION {
            self.combine_on_leader(job, partials);
            return;
        }
        let lane = Lane::of(&job.plan.stages[last]);
        let task = Task::new(job.id, last, lane, Work::Combine { partials });
        self.later(job, task, Duration::ZERO);
    }

    fn combine_on_leader(&mut self, job: &mut JobState, partials: Vec<Partial>) {
        let last = job.stages.len() - 1;
        let Some(step) = job.plan.stages[last].steps.last() else { return };
        let combination = job.next_combination;
        job.next_combination += 1;
        self.actions.push(Action::Combine {
            job: job.id,
            combination,
            step: Box::new(step.reference.clone()),
            partials: partials.iter().filter_map(|partial| partial.bytes.clone()).collect(),
        });
        job.combining.insert(combination, partials);
    }

    /// A combination that no message can hold is made on the leader.
    pub(super) fn combine_here(&mut self, number: TaskNumber) {
        let Some(task) = self.retire(number) else { return };
        let Some(mut job) = self.jobs.remove(&task.job) else { return };
        if let Work::Combine { partials } = task.work {
            self.combine_on_leader(&mut job, partials);
        }
        self.keep(job);
    }

    pub(super) fn combined(
        &mut self,
        id: JobId,
        combination: u64,
        result: Result<Bytes, OperationError>,
    ) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        self.moved(&mut job);
        if let Some(partials) = job.combining.remove(&combination) {
            match result {
                Ok(bytes) => self.combination_done(&mut job, &partials, bytes),
                Err(error) => {
                    let last = job.stages.len() - 1;
                    let lane = Lane::of(&job.plan.stages[last]);
                    let work = Work::Combine { partials: partials.clone() };
                    let task = Task::new(id, last, lane, work);
                    let number = TaskNumber(self.next_task);
                    let run = Run { number, task: &task, attempt: 0, worker: None };
                    self.combination_failed(&mut job, &run, partials, error);
                }
            }
        }
        self.keep(job);
    }

    pub(super) fn combination_done(
        &mut self,
        job: &mut JobState,
        partials: &[Partial],
        bytes: Bytes,
    ) {
        let (Some(first), Some(last)) = (partials.first(), partials.last()) else { return };
        job.largest_partial = job.largest_partial.max(bytes.len());
        if let Some(fold) = &mut job.fold {
            fold.insert(Partial::new(first.from, last.to, Some(bytes)));
        }
    }
}

impl Passing {
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Outputs { bytes, ends, indexes } => {
                bytes.len() + 4 * ends.len() + 8 * indexes.len() + HELD
            }
            Self::Failure(_) => HELD,
        }
    }
}

/// Whether a `take` has all that it wants.
fn taken_all(job: &JobState) -> bool {
    matches!(job.plan.end, End::Stream { take: Some(most), .. } if job.progress.outputs >= most)
}

fn input_failed(job: &mut JobState) -> Option<Error> {
    let (index, source) = job.source.failure.take()?;
    Some(Error::Input { job: job.id, index, source })
}

/// The source index of each output.
fn each_index(part: &Elements, counts: Option<&[u32]>) -> Vec<u64> {
    match counts {
        None => (0..part.len()).map(|offset| part.index(offset)).collect(),
        Some(counts) => counts
            .iter()
            .enumerate()
            .flat_map(|(offset, count)| std::iter::repeat_n(part.index(offset), *count as usize))
            .collect(),
    }
}
