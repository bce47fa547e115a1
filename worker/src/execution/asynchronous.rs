//! Drives an execution on tokio: asynchronous steps run there, blocking steps on slot threads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt;
use phalanx_core::{registry::Column, wire::NotRunReason};
use tokio::sync::oneshot;

use super::{
    Running,
    blocking::{reply_panic, run_step, segment},
    inlet::{Inlet, InletChunk},
    keyed::{Prepared, complete, prepare},
    ledger::Ledger,
    outlet::{self, Folding, LedgerEntry, Scattering},
    pipeline::StepFailure,
    values::Values,
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
    let mut inlet = Inlet::of(running);
    let mut size = running.chunk_sizes(concurrency as u32 * ROUNDS_PER_CHUNK);
    let (mut suspended, mut scattering) = (None, Scattering::of(running));
    let (mut now, mut gathering, mut waiting) = (started, Duration::ZERO, Duration::ZERO);
    let mut output_bytes = 0;
    while !inlet.is_empty() {
        let first = inlet.next_offset();
        if let Some(reason) = running.must_end(
            first,
            (now - started).saturating_sub(waiting),
            gathering,
            output_bytes,
        ) {
            return finish(running, slots, suspended, scattering, first, Some(reason)).await;
        }
        running.report_chunk_async(first).await;
        let max = size.elements();
        let next;
        (inlet, next) = if inlet.computes() {
            let on_slot = Arc::clone(running);
            let next = move || {
                let next = inlet.next_chunk(&on_slot, max);
                (inlet, next)
            };
            match run_on_slot(running, slots, next).await {
                Some(next) => next,
                None => return discard(running, suspended, first),
            }
        } else {
            let next = inlet.next_chunk(running, max);
            (inlet, next)
        };
        let chunk = match next {
            Ok(chunk) => chunk,
            Err(refusal) => return running.refuse(refusal),
        };
        if inlet.computes() {
            let before = std::mem::replace(&mut now, Instant::now());
            gathering += now - before;
        }
        let (to, ends_list) = (inlet.next_offset(), chunk.ends_list);
        let mut waited = Duration::ZERO;
        let Some((values, mut failures)) =
            run_chunk(running, slots, concurrency, first, chunk).await
        else {
            return discard(running, suspended, first);
        };
        if let Some(mut scatter) = scattering.take() {
            let on_slot = Arc::clone(running);
            let absorb = move || {
                let mut failures = failures;
                let rows = scatter.rows_of(&on_slot, values, &mut failures);
                if on_slot.must_discard_chunk(!failures.is_empty()) {
                    return (scatter, None);
                }
                let absorbed = scatter.absorb(&on_slot, (first, to), rows, failures);
                (scatter, Some(absorbed))
            };
            let Some((scatter, absorbed)) = run_on_slot(running, slots, absorb).await else {
                return discard(running, None, first);
            };
            match absorbed {
                Some(Ok(entries)) if !running.must_discard_chunk(false) => {
                    running.progress().ledger.record(entries);
                }
                Some(Err(broken)) => return running.reply_broken(broken, to),
                _ => return discard(running, None, first),
            }
            output_bytes = scatter.size();
            scattering = Some(scatter);
        } else {
            let outcome = if running.pipeline.folds() {
                let (on_slot, suspended) = (Arc::clone(running), suspended.clone());
                let fold = move || {
                    let column = on_slot.as_folded(values, &mut failures);
                    fold_chunk(&on_slot, first, to, column, failures, suspended)
                };
                run_on_slot(running, slots, fold).await.flatten()
            } else {
                let values = running.as_outputs(values, &mut failures);
                Some(ChunkOutcome::Mapped(values, failures))
            };
            let failed = outcome.as_ref().is_none_or(ChunkOutcome::has_failures);
            let Some(outcome) = outcome.filter(|_| !running.must_discard_chunk(failed)) else {
                return discard(running, suspended, first);
            };
            record(running, to, outcome, &mut suspended, ends_list);
            waited = running.queue_outputs().await;
            output_bytes = running.progress().ledger.output_bytes();
        }
        let mut progress = running.progress();
        if ends_list {
            progress.ledger.cut();
        }
        let before = std::mem::replace(&mut now, Instant::now());
        waiting += waited;
        progress.busy = (now - started).saturating_sub(waiting);
        drop(progress);
        size.adjust((now - before).saturating_sub(waited));
    }
    finish(running, slots, suspended, scattering, inlet.next_offset(), None).await;
}

/// Records the outcome of the chunk that ends at `to`. `suspended` is the fold that goes on.
fn record(
    running: &Running,
    to: u32,
    outcome: ChunkOutcome,
    suspended: &mut Option<Bytes>,
    ends_list: bool,
) {
    let mut progress = running.progress();
    match outcome {
        ChunkOutcome::Mapped(Values::Typed(column), failures) => {
            progress.ledger.chunk(to, &running.pipeline, &column, failures);
        }
        ChunkOutcome::Mapped(Values::Encoded(rows), failures) => {
            progress.ledger.rows(to, &rows, running.output_layout(), failures);
        }
        ChunkOutcome::Folded(entries, accumulator) => {
            progress.ledger.record(entries);
            *suspended = accumulator;
            if ends_list {
                finish_fold(running, &mut progress.ledger, suspended.take(), to);
            }
        }
    }
}

/// Replies that the chunk that begins at `first`, and what is behind it, does not count.
fn discard(running: &Running, suspended: Option<Bytes>, first: u32) {
    let mut progress = running.progress();
    finish_fold(running, &mut progress.ledger, suspended, first);
    let (blamed, reason) = (running.timed_out(), running.not_run_reason());
    running.mark_rest_not_run(&mut progress, blamed, reason);
    running.reply(progress);
}

/// Ends the outlets before the offset `to`, and replies. The elements behind it were not run, for
/// this reason.
async fn finish(
    running: &Arc<Running>,
    slots: &Slots,
    suspended: Option<Bytes>,
    scattering: Option<Scattering>,
    to: u32,
    reason: Option<NotRunReason>,
) {
    let mut blocks = None;
    if let Some(scattering) = scattering {
        let on_slot = Arc::clone(running);
        let finished =
            run_on_slot(running, slots, move || scattering.finish(&on_slot.pipeline)).await;
        match finished {
            Some(Ok(finished)) => blocks = Some(finished),
            Some(Err(broken)) => return running.reply_broken(broken, to),
            None => return discard(running, None, to),
        }
    }
    if let Some((order, most)) = outlet::order(running) {
        let on_slot = Arc::clone(running);
        // If the thread is lost, all outputs are sent.
        run_on_slot(running, slots, move || outlet::trim(&on_slot, order, most)).await;
    }
    let permit = match &blocks {
        Some(blocks) => running.enter_window(blocks.bytes.len()).await,
        None => None,
    };
    let mut progress = running.progress();
    (progress.blocks, progress.permit) = (blocks, permit);
    finish_fold(running, &mut progress.ledger, suspended, to);
    if let Some(reason) = reason {
        progress.ledger.not_run(running.count(), reason);
    }
    running.reply(progress);
}

/// Ends the segment that the fold accumulates, if the stage folds, before the offset `to`.
fn finish_fold(running: &Running, ledger: &mut Ledger, suspended: Option<Bytes>, to: u32) {
    if running.pipeline.folds() {
        let outputs = u32::from(suspended.is_some());
        ledger.folded(to, outputs, &suspended.unwrap_or_default());
    }
}

enum ChunkOutcome {
    Mapped(Values, Vec<StepFailure>),
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

/// Runs a chunk that begins at the offset `first` through all steps that map; `None` if a cancelled
/// step did not return in time, or the thread of a blocking step was lost.
async fn run_chunk(
    running: &Arc<Running>,
    slots: &Slots,
    concurrency: usize,
    first: u32,
    chunk: InletChunk,
) -> Option<(Values, Vec<StepFailure>)> {
    let InletChunk { mut values, mut failures, .. } = chunk;
    let pipeline = &*running.pipeline;
    for step in running.mapping() {
        if values.is_empty() {
            break;
        }
        if !pipeline.steps()[step].is_async() {
            let on_slot = Arc::clone(running);
            (values, failures) = run_on_slot(running, slots, move || {
                let values = run_step(&on_slot, step, first, values, &mut failures);
                (values, failures)
            })
            .await?;
            continue;
        }
        let (column, rows) = match prepare(running, step, values, &mut failures) {
            Prepared::Run(column, rows) => (column, rows),
            Prepared::Done(rows) => {
                values = Values::Encoded(rows);
                continue;
            }
        };
        if column.is_empty() {
            values = Values::nothing();
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
        let failed: Vec<StepFailure> = failed.collect();
        values = complete(pipeline, step, rows, outputs, &failed, &mut failures);
        failures.extend(failed);
    }
    Some((values, failures))
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
    let (from, gaps) = segment(running, first, to);
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
    let mut entries = folding.absorb(from, column, failures, &gaps, &running.context);
    let from = entries.iter().fold(from, |from, entry| entry.end(from));
    let accumulator = folding.suspend(from, to, &mut entries);
    running.end_step();
    Some(ChunkOutcome::Folded(entries, accumulator.map(Bytes::from)))
}
