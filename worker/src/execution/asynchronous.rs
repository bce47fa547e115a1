//! Driving an execution on tokio: asynchronous steps there, blocking ones on slot threads.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt;
use phalanx_core::registry::Column;

use super::{
    Running,
    batch::Batch,
    blocking::{answer_panic, run_step},
    folding::{Entry, Folding},
    input::as_input,
    ledger::Ledger,
    pipeline::StepFailure,
};
use crate::slot::Slots;

/// Elements of a chunk for each one that may run at once: the last of a chunk run alone.
const ROUNDS: u32 = 4;

/// How long asynchronous operations that were told to end have for that, before they are dropped.
/// Less than a drain waits for those whom it told.
const FAREWELL: Duration = Duration::from_millis(250);

/// Runs all steps, at most `concurrency` elements at once, and answers.
pub(crate) async fn run_async(running: &Arc<Running>, slots: &Slots, concurrency: usize) {
    let drive = AssertUnwindSafe(drive(running, slots, concurrency)).catch_unwind();
    tokio::select! {
        biased;
        // A blocking step was abandoned, and its execution answered for.
        () = running.taken.cancelled() => {}
        driven = drive => {
            if let Err(panic) = driven {
                answer_panic(running, &*panic);
            }
        }
    }
}

async fn drive(running: &Arc<Running>, slots: &Slots, concurrency: usize) {
    let started = running.begin();
    let pipeline = &*running.pipeline;
    let mut batch = Batch::new(running.task.payload.clone(), running.count());
    let mut size = running.chunks(concurrency as u32 * ROUNDS);
    let mut suspended = None;
    let (mut now, mut produced) = (started, 0);
    while !batch.is_empty() {
        let first = batch.next();
        if let Some(why) = running.cut(first, now - started, produced) {
            let mut progress = running.progress();
            close(running, &mut progress.ledger, suspended, first);
            progress.ledger.not_run(running.count(), why);
            return running.answer(progress);
        }
        running.chunk_begins_soon(first).await;
        let column = match batch.chunk(pipeline, size.elements()) {
            Ok(column) => column,
            Err(refusal) => return running.refuse(refusal),
        };
        let chunk = Chunk { first, to: batch.next(), column };
        let ran = run_chunk(running, slots, concurrency, chunk, suspended.clone()).await;
        let failed = ran.as_ref().is_none_or(Ran::has_failures);
        let mut progress = running.progress();
        let Some(ran) = ran.filter(|_| !running.ran_in_vain(failed)) else {
            close(running, &mut progress.ledger, suspended, first);
            running.interrupt(&mut progress, running.timed_out(), running.why());
            return running.answer(progress);
        };
        match ran {
            Ran::Mapped(column, failures) => {
                progress.ledger.chunk(batch.next(), pipeline, &column, failures);
            }
            Ran::Folded(entries, accumulator) => {
                progress.ledger.fold_entries(entries);
                suspended = accumulator;
            }
        }
        produced = progress.ledger.output_bytes();
        let before = std::mem::replace(&mut now, Instant::now());
        progress.busy = now - started;
        drop(progress);
        size.learn(now - before);
    }
    let mut progress = running.progress();
    close(running, &mut progress.ledger, suspended, running.count());
    running.answer(progress);
}

/// Ends the run of the fold, if the stage folds, before `to`.
fn close(running: &Running, ledger: &mut Ledger, suspended: Option<Bytes>, to: u32) {
    if running.pipeline.folds() {
        let outputs = u32::from(suspended.is_some());
        ledger.folded(to, outputs, &suspended.unwrap_or_default());
    }
}

/// Elements `first..to`, decoded.
struct Chunk {
    first: u32,
    to: u32,
    column: Column,
}

/// What a chunk gave.
enum Ran {
    Mapped(Column, Vec<StepFailure>),
    /// What is to be written down, and the accumulator of the run that goes on.
    Folded(Vec<Entry>, Option<Bytes>),
}

impl Ran {
    fn has_failures(&self) -> bool {
        match self {
            Self::Mapped(_, failures) => !failures.is_empty(),
            Self::Folded(entries, _) => !entries.is_empty(),
        }
    }
}

/// A chunk through all steps; `None` when they were told to end, or a slot thread was lost, on the
/// way.
async fn run_chunk(
    running: &Arc<Running>,
    slots: &Slots,
    concurrency: usize,
    chunk: Chunk,
    suspended: Option<Bytes>,
) -> Option<Ran> {
    let Chunk { first, to, mut column } = chunk;
    let pipeline = &*running.pipeline;
    let mut failures = Vec::new();
    for step in pipeline.mapping() {
        if column.origins.is_empty() {
            break;
        }
        if pipeline.steps()[step].is_async() {
            column = as_input(pipeline, step, column, &mut failures);
            if column.origins.is_empty() {
                break;
            }
            let execution = running.context.execution();
            let timeout = pipeline.timeout(step);
            let compiled = &pipeline.steps()[step];
            let told_long_ago = async {
                execution.cancelled.cancelled().await;
                tokio::time::sleep(FAREWELL).await;
            };
            let (outputs, failed) = tokio::select! {
                biased;
                ran = compiled.run_async(column, execution, concurrency, timeout) => ran,
                // Dropping the step drops the futures of its operations, as they are told they
                // may be. (Blocking steps are waited for: a thread that does not come back must
                // stay in sight of those who replace it.)
                () = told_long_ago => return None,
            };
            let failed = failed.into_iter().map(|failure| StepFailure::in_step(step, failure));
            failures.extend(failed);
            column = outputs;
        } else {
            let hopping = Arc::clone(running);
            (column, failures) = slots
                .hop(running, move || {
                    let column = run_step(&hopping, step, first, column, &mut failures);
                    (column, failures)
                })
                .await?;
        }
    }
    if !pipeline.folds() {
        return Some(Ran::Mapped(column, failures));
    }
    let hopping = Arc::clone(running);
    let fold = move || fold_chunk(&hopping, first, to, column, failures, suspended);
    slots.hop(running, fold).await?
}

/// Folds a chunk. An accumulator borrows its step and cannot wait between two hops: it travels as
/// bytes, in the place of the first value, so that the order of combining stays the same.
fn fold_chunk(
    running: &Running,
    first: u32,
    to: u32,
    column: Column,
    failures: Vec<StepFailure>,
    suspended: Option<Bytes>,
) -> Option<Ran> {
    let pipeline = &*running.pipeline;
    let mut folding = Folding::of(pipeline)?;
    let from = running.progress().ledger.at();
    running.step_begins(pipeline.last(), first);
    if let Some(accumulator) = suspended
        && let Err(error) = folding.resume(from, &accumulator, &running.context)
    {
        // What was folded into it is lost, and the element in front answers for it.
        running.step_ends();
        let step = pipeline.last() as u32;
        return Some(Ran::Folded(vec![Entry::Failed { step, error }, Entry::Broken { to }], None));
    }
    let mut entries = folding.absorb(from, column, failures, &running.context);
    let from = entries.iter().fold(from, |from, entry| entry.end(from));
    let accumulator = folding.suspend(from, to, &mut entries);
    running.step_ends();
    Some(Ran::Folded(entries, accumulator.map(Bytes::from)))
}
