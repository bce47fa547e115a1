//! Replies of workers to tasks: results and returns.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;

use super::{
    blame::{TaskRun, blamed},
    combine, dead_letter, element,
    event::JobEvent,
    fold::Partial,
    gone, groups,
    job::{Batch, Elements, InlineBlock, JobState, QueuedOutputs, Queues, Winner},
    output::{self, Outputs},
    output_queues, refusals,
    retried::Retried,
    retry, schedule,
    shared::Shared,
    spread,
    table::{Shape, Task, Work},
};
use crate::{
    error::ShuffleFailure,
    id::{CopyId, TaskNumber},
    plan::Outlet,
    registry::Refusal,
    wire::{
        GatheredElement, ListEnd, MAX_LISTED_ELEMENTS, NotRunReason, Outcome, ResultHeader,
        ResultMessage, Return, ReturnReason, Segment, SpreadBlocks,
    },
};

/// The most bytes of outputs that sizes are made from: those of a hostile result may be anything.
const MOST_MEASURED: u64 = 1 << 40;

/// A worker replied with the result of a live task. It counts whichever copy it is of (rule 2).
pub(super) fn result(shared: &mut Shared, job: &mut JobState, result: ResultMessage) {
    let ResultMessage { header, payload } = result;
    let number = header.copy.task;
    let Some(task) = shared.tasks.get(number) else { return };
    let shape = Shape {
        steps: job.plan.stages[task.stage].steps.len(),
        folds: job.folds(task.stage),
        one_to_one: job.is_one_to_one(task.stage),
        measured: matches!(job.plan.outlet(task.stage), Outlet::Stage(_)),
        feeds: job.feeds(task.stage),
    };
    let read = with_lists(job, task, &header);
    let Some(task) =
        read.filter(|task| task.fits(&header, shape) && has_blocks(job, task, &header))
    else {
        let (copy, worker) = (header.copy, header.worker);
        tracing::warn!(%copy, %worker, "a result does not fit its task");
        let reason = "a worker's result does not fit its task";
        return gone::reissue_suspected(shared, job, header.copy, reason);
    };
    let closed = match task {
        Cow::Owned(closed) => Some(closed),
        Cow::Borrowed(_) => None,
    };
    let Some(retired) = schedule::retire(shared, job, number) else { return };
    let task = closed.unwrap_or(retired);
    shared.progressed(job);
    shared.workers.worked(header.worker);
    // A worker that can run the stage took it.
    job.stages[task.stage].refused = None;
    let outputs = output_bytes(&header.segments).max(payload.len() as u64).min(MOST_MEASURED);
    let outputs = usize::try_from(outputs).unwrap_or(usize::MAX);
    measure(shared, job, &task, &header, outputs);
    let (attempt, worker) = (header.copy.attempt, Some(header.worker));
    let run = TaskRun { number, task: &task, attempt, worker };
    match &task.work {
        Work::Run { batch, first_step } => {
            let covered = header.segments.last().map_or(0, |last| last.to as usize);
            for list in &header.lists {
                job.close_list(run.task.stage, list);
            }
            if let Some(exchange) = job.read_by(run.task.stage) {
                job.exchanges[exchange].spilled(header.spilled);
            }
            if let Some(rest) = batch.partitions().and_then(|partitions| partitions.rest(covered)) {
                let work = Work::Run { batch: Batch::Partitions(rest), first_step: *first_step };
                go_on(shared, job, run.task.with(work), &task, payload.len());
            }
            accept_queued(job, number, &header);
            let payload = feed_exchange(job, run.task.stage, batch, &header, payload);
            groups::keep_reported(job, run.task.stage, batch, reported(&header.segments));
            batch_result(shared, job, &run, batch, *first_step, &header.segments, payload);
            groups::forget_reported(job, run.task.stage);
        }
        Work::Combine { partials } => {
            combine_result(shared, job, &run, partials.clone(), &header.segments, payload);
        }
    }
}

/// Enqueues the task that goes on with the rest of a list. If the one before it has stopped because
/// of its outputs, this many bytes, or has a queue for them, the next one gets a queue (rule 39).
fn go_on(shared: &mut Shared, job: &mut JobState, mut rest: Task, before: &Task, outputs: usize) {
    let exchange = job.read_by(rest.stage).filter(|_| job.may_queue_outputs(rest.stage));
    let is_full = outputs as u64 >= shared.settings.output_cap;
    // Beyond that, the credit of the job slows it down.
    let has_room = job.shuffled_bytes() <= shared.settings.shuffle_limit / 2;
    rest.queues_outputs = exchange.is_some() && has_room && (before.queues_outputs || is_full);
    let queues_outputs = rest.queues_outputs;
    let number = schedule::enqueue(shared, rest, Duration::ZERO);
    if let Some(exchange) = exchange.filter(|_| queues_outputs) {
        output_queues::declare(shared, job, number, exchange);
    }
}

/// The outputs of a result are in the queue of its task.
fn accept_queued(job: &mut JobState, task: TaskNumber, header: &ResultHeader) {
    if header.output_blocks > 0 {
        let done = |it: &&Segment| matches!(it.outcome, Outcome::Done { .. });
        let done = header.segments.iter().filter(done).count();
        job.output_queues.accept(task, header.execution, header.output_blocks, done);
        let bytes = output_bytes(&header.segments);
        job.output_queues.written(bytes);
        if let Some(exchange) = job.output_queues.exchange_of(task) {
            job.exchanges[exchange].queued_outputs(bytes);
        }
    }
}

/// The bytes of all outputs of a result.
fn output_bytes(segments: &[Segment]) -> u64 {
    let bytes = |segment: &Segment| match segment.outcome {
        Outcome::Done { bytes, .. } => bytes,
        Outcome::Failed { .. } | Outcome::NotRun { .. } => 0,
    };
    // Those of a hostile worker may be anything.
    segments.iter().map(bytes).fold(0, u64::saturating_add)
}

/// The task, with the lists known that a result has read to their ends. `None` if they contradict
/// what is known (rule 33).
fn with_lists<'a>(job: &JobState, task: &'a Task, header: &ResultHeader) -> Option<Cow<'a, Task>> {
    if let Work::Run { batch: Batch::Partitions(partitions), first_step } = &task.work {
        let exchange = &job.exchanges[job.read_by(task.stage)?];
        let fits = |list: &ListEnd| {
            list.elements <= MAX_LISTED_ELEMENTS
                && exchange.elements(list.partition).is_none_or(|known| known == list.elements)
        };
        if !header.lists.iter().all(fits) {
            return None;
        }
        let batch = Batch::Partitions(partitions.closed(&header.lists)?);
        let mut task = task.clone();
        task.work = Work::Run { batch, first_step: *first_step };
        return Some(Cow::Owned(task));
    }
    header.lists.is_empty().then_some(Cow::Borrowed(task))
}

/// Whether the exchange has the partitions of the blocks of a result, and blocks went through queues
/// only if there are such.
fn has_blocks(job: &JobState, task: &Task, header: &ResultHeader) -> bool {
    match job.plan.outlet(task.stage) {
        Outlet::Exchange { exchange, .. } => {
            let exchange = &job.exchanges[exchange];
            let is_open = exchange.queues().is_some_and(Queues::is_open);
            let ascend = header.spread.windows(2).all(|two| two[0].partition < two[1].partition);
            let is_block = |it: &SpreadBlocks| exchange.has(it.partition) && it.blocks > 0;
            header.blocks.iter().all(|block| exchange.has(block.partition))
                && ascend
                && header.spread.iter().all(is_block)
                && (header.spread.is_empty() || (is_open && header.blocks.is_empty()))
        }
        Outlet::Stage(_) | Outlet::End(_) => header.blocks.is_empty() && header.spread.is_empty(),
    }
}

/// What a result says about elements that failed: each with its batch offset.
fn reported(segments: &[Segment]) -> impl Iterator<Item = (u32, &GatheredElement)> {
    segments.iter().filter_map(|segment| match &segment.outcome {
        Outcome::Failed { element: Some(element), .. } => Some((segment.from, &**element)),
        _ => None,
    })
}

/// Adds the blocks of a result to the exchange that the stage feeds: its execution counts (rule
/// 31). Returns the payload before them.
fn feed_exchange(
    job: &mut JobState,
    stage: usize,
    batch: &Batch,
    header: &ResultHeader,
    mut payload: Bytes,
) -> Bytes {
    let Outlet::Exchange { exchange, feeder } = job.plan.outlet(stage) else { return payload };
    let execution = header.execution;
    if !header.spread.is_empty() {
        job.exchanges[exchange].announce(execution, header.uncombined, &header.spread);
        return payload;
    }
    // The decoder has checked that the payload has all of them.
    let blocks = &header.blocks;
    let size: usize = blocks.iter().map(|block| block.bytes as usize).sum();
    let mut bytes = payload.split_off(payload.len().saturating_sub(size));
    let added = blocks.iter().map(|block| InlineBlock {
        partition: block.partition,
        first: batch.position(block.first as usize),
        rows: block.rows,
        bytes: bytes.split_to((block.bytes as usize).min(bytes.len())),
    });
    let winner = Winner { feeder, task: header.copy.task, execution };
    job.exchanges[exchange].add(winner, header.uncombined, added);
    payload
}

/// Measures the cost of elements or of partial results, and the time that tasks wait at workers.
fn measure(
    shared: &mut Shared,
    job: &mut JobState,
    task: &Task,
    header: &ResultHeader,
    output: usize,
) {
    let ran = |segment: &&Segment| !matches!(segment.outcome, Outcome::NotRun { .. });
    let elements: u64 = header.segments.iter().filter(ran).map(|s| u64::from(s.to - s.from)).sum();
    if elements > 0 && task.len() > 0 {
        let input = (task.size() as u64 * elements / task.len() as u64) as usize;
        let busy = Duration::from_micros(header.busy_us);
        let stage = &mut job.stages[task.stage];
        match task.work {
            Work::Run { .. } => {
                stage.cost.observe(busy, elements, input, output);
                stage.rate.observe(shared.clocks.healthy, elements, busy);
            }
            Work::Combine { .. } => stage.combining.observe(busy, elements, input, output),
        }
    }
    let sizing = shared.sizing(job, task.stage);
    shared.flows.observe(&task.lane, Duration::from_micros(header.waited_us), &sizing);
}

/// Accounts for each position of the batch (rule 4): it is done, failed, or part of a new task.
fn batch_result(
    shared: &mut Shared,
    job: &mut JobState,
    run: &TaskRun<'_>,
    batch: &Batch,
    first_step: usize,
    segments: &[Segment],
    mut payload: Bytes,
) {
    // A leaf of a fixed tree counts as a whole, or not at all.
    if job.has_leaves(run.task.stage)
        && let Batch::Elements(elements) = batch
        && !matches!(segments, [Segment { outcome: Outcome::Done { .. }, .. }])
    {
        return broken_leaf(shared, job, run, elements, first_step, segments);
    }
    let new_task = |batch| run.task.with(Work::Run { batch, first_step });
    let mut retried = Retried::default();
    for segment in segments {
        let offsets = segment.from as usize..segment.to as usize;
        let part = batch.slice(offsets.clone());
        match &segment.outcome {
            Outcome::Done { bytes, outputs, counts, lengths } => {
                let (task, outputs, bytes) = (run.number, *outputs, *bytes);
                let queued = job.output_queues.has_outputs_of(task);
                let queued = queued.then_some(QueuedOutputs { task, bytes, outputs });
                let values = payload.split_to((bytes as usize).min(payload.len()));
                let (counts, lengths) = (counts.as_deref(), lengths.as_deref());
                let outputs = Outputs { values, count: outputs, counts, lengths, queued };
                output::done(shared, job, run.task.stage, &part, outputs);
            }
            Outcome::Failed { step, error, .. } => {
                let step = first_step + *step as usize;
                let delay = element::plan_retry(shared, job, run, &part, step, error);
                match delay {
                    Some(delay) => retried.add(batch, offsets, delay),
                    None => {
                        let error = error.clone();
                        element::fail_permanently(shared, job, run, &part, step, error);
                    }
                }
            }
            Outcome::NotRun { reason } => {
                let delay = match reason {
                    // The worker has cancelled a job that is live here. The back-off keeps the two
                    // from exchanging the task at full speed.
                    NotRunReason::Cancelled => retry::delay_of_task(1, run.number),
                    _ => Duration::ZERO,
                };
                schedule::enqueue(shared, new_task(part), delay);
            }
        }
    }
    for (batch, delay) in retried.batches(batch) {
        schedule::enqueue(shared, new_task(batch.charged()), delay);
    }
}

/// Charges the failures in a leaf, and retries the leaf as a whole.
fn broken_leaf(
    shared: &mut Shared,
    job: &mut JobState,
    run: &TaskRun<'_>,
    elements: &Elements,
    first_step: usize,
    segments: &[Segment],
) {
    let mut delay = Duration::ZERO;
    let mut parts = Vec::new();
    for segment in segments {
        let part = elements.slice(segment.from as usize..segment.to as usize);
        let Outcome::Failed { step, error, .. } = &segment.outcome else {
            parts.push(part);
            continue;
        };
        let element = Batch::Elements(part.clone());
        let step = first_step + *step as usize;
        if let Some(wait) = element::plan_retry(shared, job, run, &element, step, error) {
            delay = delay.max(wait);
            parts.push(part.charged());
        } else {
            // No step of a fixed fold skips failures, or turns them into values.
            let name = run.name(job, &element, 0);
            let error = blamed(job, run, name, part.tries(0), step, error.clone());
            dead_letter::write(shared, job, run, &element, 0, &error);
            return element::fail_job(shared, job, run.task.stage, &element, error);
        }
    }
    if let Some(elements) = Elements::join(parts) {
        let work = Work::Run { batch: Batch::Elements(elements), first_step };
        schedule::enqueue(shared, run.task.with(work), delay);
    }
}

fn combine_result(
    shared: &mut Shared,
    job: &mut JobState,
    run: &TaskRun<'_>,
    partials: Vec<Partial>,
    segments: &[Segment],
    payload: Bytes,
) {
    if let [Segment { outcome: Outcome::Done { outputs: 1, .. }, .. }] = segments {
        return combine::done(job, &partials, payload);
    }
    let failure = segments.iter().find_map(|segment| match &segment.outcome {
        Outcome::Failed { error, .. } => Some(error.clone()),
        _ => None,
    });
    match failure {
        Some(error) => element::combination_failed(shared, job, run, partials, error),
        None => {
            let task = run.task.with(Work::Combine { partials });
            schedule::enqueue(shared, task, Duration::ZERO);
        }
    }
}

/// A worker returned a copy of a task of this job.
pub(super) fn returned(shared: &mut Shared, job: &mut JobState, copy: CopyId, returned: Return) {
    let Some(task) = shared.tasks.get_mut(copy.task) else { return };
    let Some(known) = task.copy(copy.attempt) else { return };
    // A lease outranks a return (rule 13): the broker redelivered a copy that its worker could not
    // ack any more, but still runs.
    if returned.reason == ReturnReason::Redelivered && known.holder().is_some() {
        return;
    }
    let (isolated, stage) = (known.isolated, task.stage);
    if returned.reason == ReturnReason::Redelivered {
        task.isolated = true;
    }
    if let Some(element) = &returned.element {
        groups::keep_reported_of_task(job, task, returned.offset.unwrap_or(0), element);
    }
    let event =
        JobEvent::TaskReturned { copy, worker: returned.worker, reason: returned.reason.clone() };
    shared.emit(job.id, event);
    match returned.reason {
        ReturnReason::Redelivered if isolated => {
            let reason = "the workers that it was delivered to died, although it ran in a child \
                          process, or held it longer than the broker's acknowledgement timeout";
            gone::reissue_suspected(shared, job, copy, reason);
        }
        ReturnReason::Redelivered => gone::reissue(shared, job, copy),
        ReturnReason::Crashed { status } => {
            gone::crashed(shared, job, copy.task, returned.offset, &status);
        }
        ReturnReason::TooLarge { size, limit } => {
            let reason = format!(
                "a reply of {size} bytes is larger than the broker's limit of {limit} bytes"
            );
            gone::too_large(shared, job, copy.task, &reason);
        }
        ReturnReason::Refused(Refusal::Undecodable { name, offset, reason }) => {
            gone::undecodable(shared, job, copy.task, &name, offset, &reason);
        }
        // Damaged on its way, or in the eyes of this worker: that says nothing about its stage.
        ReturnReason::Refused(Refusal::Message { reason }) => {
            let reason = format!("a worker cannot read the task: {reason}");
            gone::reissue_suspected(shared, job, copy, &reason);
        }
        ReturnReason::Refused(refusal) => {
            refusals::refused(shared, job, stage, returned.worker, refusal);
            gone::reissue_after_setback(shared, job, copy);
        }
        // The heartbeats of this leader do not reach the worker. The back-off keeps the two from
        // exchanging tasks at full speed.
        ReturnReason::LeaderTimeout => gone::reissue_after_setback(shared, job, copy),
        ReturnReason::NotStarted | ReturnReason::Draining => gone::reissue(shared, job, copy),
        ReturnReason::BlocksMissing { partition, found, .. } => {
            spread::blocks_missing(shared, job, copy, (partition, found));
        }
        ReturnReason::AckTimeout { partition, bytes, elapsed_ms, reason } => {
            let elapsed = Duration::from_millis(elapsed_ms);
            let failure = ShuffleFailure::AckTimeout { partition, bytes, elapsed, reason };
            spread::unreadable(shared, job, copy, failure);
        }
        ReturnReason::PartTooLarge { partition, bytes, limit, key, key_bytes } => {
            let failure = ShuffleFailure::PartTooLarge { partition, bytes, limit, key, key_bytes };
            spread::unreadable(shared, job, copy, failure);
        }
    }
    groups::forget_reported(job, stage);
}
