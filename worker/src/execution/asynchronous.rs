//! Drives an execution on tokio: asynchronous steps run there, blocking steps on slot threads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt;
use phalanx_core::registry::Column;
use tokio::sync::oneshot;

use super::{
    Running,
    batch::Batch,
    blocking::{reply_panic, run_step},
    folding::{Folding, LedgerEntry},
    input::as_input,
    ledger::Ledger,
    pipeline::StepFailure,
};
use crate::slots::Slots;

/// The size of the first chunk, as a multiple of the concurrency. Towards the end of a chunk fewer
/// and fewer elements run, so a chunk holds several rounds of them.
const ROUNDS_PER_CHUNK: u32 = 4;

/// How long cancelled asynchronous operations may take to return before their futures are dropped.
/// Shorter than the time that a drain waits after cancelling them.
const CANCEL_GRACE: Duration = Duration::from_millis(250);

/// Runs all steps, at most `concurrency` elements at once, and replies.
pub(crate) async fn run_async(running: &Arc<Running>, slots: &Slots, concurrency: usize) {
    let drive = AssertUnwindSafe(drive(running, slots, concurrency)).catch_unwind();
    // Dropping the driver is safe once another part has replied: it holds only its own state.
    tokio::select! {
        biased;
        // The thread of a blocking step was abandoned.
        () = running.replied.cancelled() => {}
        driven = drive => {
            if let Err(panic) = driven {
                reply_panic(running, &*panic);
            }
        }
    }
}

async fn drive(running: &Arc<Running>, slots: &Slots, concurrency: usize) {
    let started = running.start();
    let pipeline = &*running.pipeline;
    let mut batch = Batch::new(running.task.payload.clone(), running.count());
    let mut size = running.chunk_sizes(concurrency as u32 * ROUNDS_PER_CHUNK);
    let mut suspended = None;
    let (mut now, mut output_bytes) = (started, 0);
    while !batch.is_empty() {
        let first = batch.next_offset();
        if let Some(reason) = running.must_end(first, now - started, output_bytes) {
            let mut progress = running.progress();
            finish_fold(running, &mut progress.ledger, suspended, first);
            progress.ledger.not_run(running.count(), reason);
            return running.reply(progress);
        }
        running.report_chunk_async(first).await;
        let column = match batch.next_chunk(pipeline, size.elements()) {
            Ok(column) => column,
            Err(refusal) => return running.refuse(refusal),
        };
        let chunk = Chunk { first, to: batch.next_offset(), column };
        let outcome = run_chunk(running, slots, concurrency, chunk, suspended.clone()).await;
        let failed = outcome.as_ref().is_none_or(ChunkOutcome::has_failures);
        let mut progress = running.progress();
        let Some(outcome) = outcome.filter(|_| !running.must_discard_chunk(failed)) else {
            finish_fold(running, &mut progress.ledger, suspended, first);
            let (blamed, reason) = (running.timed_out(), running.not_run_reason());
            running.mark_rest_not_run(&mut progress, blamed, reason);
            return running.reply(progress);
        };
        match outcome {
            ChunkOutcome::Mapped(column, failures) => {
                progress.ledger.chunk(batch.next_offset(), pipeline, &column, failures);
            }
            ChunkOutcome::Folded(entries, accumulator) => {
                progress.ledger.folded_all(entries);
                suspended = accumulator;
            }
        }
        output_bytes = progress.ledger.output_bytes();
        let before = std::mem::replace(&mut now, Instant::now());
        progress.busy = now - started;
        drop(progress);
        size.adjust(now - before);
    }
    let mut progress = running.progress();
    finish_fold(running, &mut progress.ledger, suspended, running.count());
    running.reply(progress);
}

/// Ends the segment that the fold accumulates, if the stage folds, before the offset `to`.
fn finish_fold(running: &Running, ledger: &mut Ledger, suspended: Option<Bytes>, to: u32) {
    if running.pipeline.folds() {
        let outputs = u32::from(suspended.is_some());
        ledger.folded(to, outputs, &suspended.unwrap_or_default());
    }
}

/// The decoded elements at the offsets `first..to`.
struct Chunk {
    first: u32,
    to: u32,
    column: Column,
}

enum ChunkOutcome {
    Mapped(Column, Vec<StepFailure>),
    /// The entries to record, and the accumulator of the segment that continues.
    Folded(Vec<LedgerEntry>, Option<Bytes>),
}

impl ChunkOutcome {
    fn has_failures(&self) -> bool {
        match self {
            Self::Mapped(_, failures) => !failures.is_empty(),
            Self::Folded(entries, _) => !entries.is_empty(),
        }
    }
}

/// Runs a chunk through all steps; `None` if a cancelled step did not return in time, or the thread
/// of a blocking step was lost.
async fn run_chunk(
    running: &Arc<Running>,
    slots: &Slots,
    concurrency: usize,
    chunk: Chunk,
    suspended: Option<Bytes>,
) -> Option<ChunkOutcome> {
    let Chunk { first, to, mut column } = chunk;
    let pipeline = &*running.pipeline;
    let mut failures = Vec::new();
    for step in pipeline.mapping() {
        if column.offsets.is_empty() {
            break;
        }
        if pipeline.steps()[step].is_async() {
            column = as_input(pipeline, step, column, &mut failures);
            if column.offsets.is_empty() {
                break;
            }
            let execution = running.context.execution();
            let timeout = pipeline.timeout(step);
            let compiled = &pipeline.steps()[step];
            let grace_is_over = async {
                execution.cancelled.cancelled().await;
                tokio::time::sleep(CANCEL_GRACE).await;
            };
            // Dropping the step drops the futures of its operations, which must be cancel-safe.
            // Blocking steps are waited for: the watchdog must be able to replace their threads.
            let (outputs, failed) = tokio::select! {
                biased;
                outcome = compiled.run_async(column, execution, concurrency, timeout) => outcome,
                () = grace_is_over => return None,
            };
            let failed = failed.into_iter().map(|failure| StepFailure::in_step(step, failure));
            failures.extend(failed);
            column = outputs;
        } else {
            let on_slot = Arc::clone(running);
            (column, failures) = run_on_slot(running, slots, move || {
                let column = run_step(&on_slot, step, first, column, &mut failures);
                (column, failures)
            })
            .await?;
        }
    }
    if !pipeline.folds() {
        return Some(ChunkOutcome::Mapped(column, failures));
    }
    let on_slot = Arc::clone(running);
    let fold = move || fold_chunk(&on_slot, first, to, column, failures, suspended);
    run_on_slot(running, slots, fold).await?
}

/// Runs one step of `running` on a slot thread; `None` if the step panicked, or its thread was
/// abandoned.
async fn run_on_slot<R: Send + 'static>(
    running: &Arc<Running>,
    slots: &Slots,
    step: impl FnOnce() -> R + Send + 'static,
) -> Option<R> {
    let (sender, result) = oneshot::channel();
    let running = Arc::clone(running);
    let queued = slots.queue_step(Box::new(move |slot| {
        running.enter(slot);
        let result = catch_unwind(AssertUnwindSafe(step));
        running.leave();
        if let Ok(result) = result {
            let _ = sender.send(result);
        }
    }));
    // The queue has room for one step of each asynchronous execution.
    if !queued {
        return None;
    }
    result.await.ok()
}

/// Folds a chunk. An accumulator borrows its step, so it cannot wait between two visits to a slot
/// thread. It is encoded and decoded again as the first value, which keeps the order of combining.
fn fold_chunk(
    running: &Running,
    first: u32,
    to: u32,
    column: Column,
    failures: Vec<StepFailure>,
    suspended: Option<Bytes>,
) -> Option<ChunkOutcome> {
    let pipeline = &*running.pipeline;
    let mut folding = Folding::of(pipeline)?;
    let from = running.progress().ledger.next_offset();
    running.begin_step(pipeline.last(), first);
    if let Some(accumulator) = suspended
        && let Err(error) = folding.resume(from, &accumulator, &running.context)
    {
        // The elements in the accumulator are lost; the first of them is reported as failed.
        running.end_step();
        let step = pipeline.last() as u32;
        let entries = vec![LedgerEntry::Failed { step, error }, LedgerEntry::Broken { to }];
        return Some(ChunkOutcome::Folded(entries, None));
    }
    let mut entries = folding.absorb(from, column, failures, &running.context);
    let from = entries.iter().fold(from, |from, entry| entry.end(from));
    let accumulator = folding.suspend(from, to, &mut entries);
    running.end_step();
    Some(ChunkOutcome::Folded(entries, accumulator.map(Bytes::from)))
}
