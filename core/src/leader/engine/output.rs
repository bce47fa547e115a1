//! Outputs of a stage: to the reader, to the next stage, or into the fold.

use bytes::Bytes;

use super::{
    flow::MAX_BATCH_BYTES,
    fold::Partial,
    job::{
        Batch, Elements, Indexes, JobOutput, JobState, NextOutputs, Onward, OutputBlock,
        QueuedOutputs, StageOutput,
    },
    protocol::Action,
    shared::Shared,
};
use crate::{
    error::{ExecuteError, ShuffleFailure},
    plan::{End, Outlet},
};

/// The outputs of elements at consecutive positions.
pub(super) struct Outputs<'a> {
    /// The encodings, one after the other.
    pub(super) values: Bytes,
    /// The number of outputs.
    pub(super) count: u32,
    /// The number of outputs of each element; `None` if each has exactly one, and for folds.
    pub(super) counts: Option<&'a [u32]>,
    /// The length of each output in bytes; `None` in the last stage.
    pub(super) lengths: Option<&'a [u32]>,
    /// The outputs, if they are in the queue of their task rather than in `values`.
    pub(super) queued: Option<QueuedOutputs>,
}

/// Settles elements that have passed a stage, and passes their outputs on.
pub(super) fn done(
    shared: &mut Shared,
    job: &mut JobState,
    stage: usize,
    elements: &Batch,
    outputs: Outputs<'_>,
) {
    let onward = match outputs.counts {
        _ if job.is_last(stage) || job.feeds(stage) => Onward::Nothing,
        None => Onward::One,
        Some(counts) => Onward::Counts(counts),
    };
    job.settle(stage, elements, onward);
    if job.feeds(stage) {
        // The blocks have come with the result.
        return;
    }
    let (from, to) = (job.place(stage, elements.first()), job.place(stage, elements.end()));
    if !job.is_last(stage) {
        let output = stage_output(elements, outputs);
        if job.keeps_order(stage) {
            job.account.buffer(output.size());
            job.stages[stage].reorder.insert(from, to, output);
            release_to_next_stage(shared, job, stage);
        } else {
            feed_next(shared, job, stage, output);
        }
        return;
    }
    if let Some(queued) = outputs.queued {
        if let End::Stream { ordered: true, .. } = job.plan.end {
            job.account.buffer(0);
            job.reorder.insert(from, to, JobOutput::Queued(queued));
        } else {
            job.output_queues.push(queued);
        }
        release_to_reader(shared, job);
        return;
    }
    match job.plan.end {
        End::Count => job.counted += u64::from(outputs.count),
        End::Fold { .. } => {
            let bytes = (outputs.count > 0).then_some(outputs.values);
            if let Some(fold) = &mut job.fold {
                fold.insert(Partial::new(from, to, bytes));
            }
        }
        End::Stream { .. } | End::Top { .. } => {
            let indexes = match outputs.counts {
                _ if job.numbers_outputs() => Indexes::default(),
                None if elements.index_is_position() => Indexes::Range { first: elements.index(0) },
                counts => Indexes::Each(each_index(elements, counts)),
            };
            let listed = if let Indexes::Each(all) = &indexes { all.len() * 8 } else { 0 };
            let charged = job.account.output(outputs.values.len() + listed);
            let block =
                OutputBlock { values: outputs.values, count: outputs.count, indexes, charged };
            if let End::Stream { ordered: true, .. } = job.plan.end {
                job.reorder.insert(from, to, JobOutput::Outputs(block));
                release_to_reader(shared, job);
            } else {
                deliver(shared, job, block);
            }
        }
    }
}

/// Passes on the elements of a stage without steps, which are their own outputs.
pub(super) fn pass_through(shared: &mut Shared, job: &mut JobState, stage: usize) {
    if !job.plan.stages[stage].steps.is_empty() || job.feeds(stage) {
        return;
    }
    while let Some(elements) = job.cut(stage, u64::MAX, MAX_BATCH_BYTES) {
        let (values, count) = (elements.bytes().clone(), elements.len() as u32);
        let lengths = elements.lengths();
        let lengths = Some(&lengths[..]);
        let outputs = Outputs { values, count, counts: None, lengths, queued: None };
        done(shared, job, stage, &Batch::Elements(elements), outputs);
    }
}

/// Puts a failure in the place of the outputs of one position.
pub(super) fn fail_in_order(
    shared: &mut Shared,
    job: &mut JobState,
    stage: usize,
    position: u64,
    error: Box<ExecuteError>,
) {
    job.account.buffer(0);
    if job.is_last(stage) {
        let (from, to) = (job.place(stage, position), job.place(stage, position + 1));
        job.reorder.insert(from, to, JobOutput::Failure(error));
        release_to_reader(shared, job);
    } else {
        job.stages[stage].reorder.insert(position, position + 1, StageOutput::Failure(error));
        release_to_next_stage(shared, job, stage);
    }
}

/// Hands outputs to the reader.
pub(super) fn deliver(shared: &mut Shared, job: &mut JobState, mut outputs: OutputBlock) {
    if outputs.count == 0 {
        job.account.discard(outputs.charged);
        return;
    }
    job.account.deliver(outputs.charged);
    if job.numbers_outputs() {
        outputs.indexes = Indexes::Range { first: job.outputs };
    }
    job.outputs += u64::from(outputs.count);
    shared.actions.push(Action::Output { job: job.id, outputs });
}

/// Whether a `take` has all the outputs that it asks for.
pub(super) fn has_taken_all(job: &JobState) -> bool {
    matches!(job.plan.end, End::Stream { take: Some(most), .. } if job.outputs >= most)
}

/// Delivers the outputs that are next in the order of their elements.
fn release_to_reader(shared: &mut Shared, job: &mut JobState) {
    // What waits in a queue comes before all that is in the reorder buffer.
    while release_queued(shared, job)
        && let Some(release) = job.reorder.release()
    {
        match release {
            JobOutput::Outputs(outputs) => deliver(shared, job, outputs),
            JobOutput::Queued(queued) => {
                job.account.unbuffer(0);
                job.output_queues.push(queued);
            }
            JobOutput::Failure(error) => {
                job.account.unbuffer(0);
                if !has_taken_all(job) {
                    job.fail(error);
                }
            }
        }
    }
}

/// Delivers the outputs that are next in queues, as far as they have been read. Returns whether none
/// are left.
fn release_queued(shared: &mut Shared, job: &mut JobState) -> bool {
    loop {
        match job.output_queues.next() {
            NextOutputs::Nothing => return true,
            NextOutputs::Outputs { values, count } => {
                let charged = job.account.output(values.len());
                let indexes = Indexes::default();
                deliver(shared, job, OutputBlock { values, count, indexes, charged });
            }
            NextOutputs::Block { task, execution, blocks } => {
                if job.account.may_read_ahead() && !job.has_failed() && !has_taken_all(job) {
                    job.output_queues.ask(task);
                    shared.actions.push(Action::ReadOutputs {
                        job: job.id,
                        task,
                        execution,
                        blocks,
                    });
                }
                return false;
            }
            NextOutputs::Asked => return false,
            NextOutputs::Malformed { task } => {
                if let Some(exchange) = job.output_queues.exchange_of(task) {
                    job.fail_shuffle(exchange, ShuffleFailure::OutputsMalformed { task });
                }
                return false;
            }
        }
    }
}

/// Passes on what has its predecessors because the end of a list or of a branch is known.
pub(super) fn release_joined(shared: &mut Shared, job: &mut JobState) {
    for exchange in 0..job.plan.exchanges.len() {
        release_to_next_stage(shared, job, job.plan.exchanges[exchange].reader);
    }
    release_to_reader(shared, job);
}

/// Moves the outputs that are next in order into the next stage.
fn release_to_next_stage(shared: &mut Shared, job: &mut JobState, stage: usize) {
    while let Some(output) = job.stages[stage].reorder.release() {
        job.account.unbuffer(output.size());
        feed_next(shared, job, stage, output);
    }
}

fn feed_next(shared: &mut Shared, job: &mut JobState, stage: usize, output: StageOutput) {
    let Outlet::Stage(next) = job.plan.outlet(stage) else { return };
    match output {
        StageOutput::Outputs { ends, .. } if ends.is_empty() => {}
        StageOutput::Outputs { bytes, ends, indexes } => {
            let position = job.stages[next].next_position();
            job.feed(next, Elements::passed(position, bytes, ends, indexes));
            pass_through(shared, job, next);
        }
        StageOutput::Failure(error) => {
            let position = job.stages[next].skip_position();
            fail_in_order(shared, job, next, position, error);
        }
    }
}

fn stage_output(elements: &Batch, outputs: Outputs<'_>) -> StageOutput {
    let indexes = each_index(elements, outputs.counts);
    let mut end = 0;
    let ends = outputs.lengths.unwrap_or_default().iter().map(|length| {
        end += length;
        end
    });
    StageOutput::Outputs { bytes: outputs.values, ends: ends.collect(), indexes }
}

/// The source index of each output.
fn each_index(elements: &Batch, counts: Option<&[u32]>) -> Vec<u64> {
    match counts {
        None => (0..elements.len()).map(|offset| elements.index(offset)).collect(),
        Some(counts) => counts
            .iter()
            .enumerate()
            .flat_map(|(offset, count)| {
                std::iter::repeat_n(elements.index(offset), *count as usize)
            })
            .collect(),
    }
}
