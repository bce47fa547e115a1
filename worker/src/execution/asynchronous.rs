//! Driving an execution on tokio: asynchronous steps there, blocking ones on slot threads.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures::FutureExt;
use phalanx_core::registry::Column;

use super::{
    Running,
    batch::Batch,
    blocking::{answer_panic, as_input, run_step},
    chunk::ChunkSize,
    folding::{Entry, Folding},
    pipeline::StepFailure,
};
use crate::slot::Slots;

/// Elements of a chunk for each one that may run at once: the last of a chunk run alone.
const ROUNDS: u32 = 4;

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
    let mut size = ChunkSize::starting_at(concurrency as u32 * ROUNDS);
    let (mut now, mut produced) = (started, 0);
    while !batch.is_empty() {
        let first = batch.next();
        if let Some(why) = running.cut(first, now - started, produced) {
            let mut progress = running.progress();
            progress.ledger.not_run(running.count(), why);
            return running.answer(progress);
        }
        let column = match batch.chunk(pipeline, size.elements()) {
            Ok(column) => column,
            Err(refusal) => return running.refuse(refusal),
        };
        let ran = run_chunk(running, slots, concurrency, first, batch.next(), column).await;
        let failed = ran.as_ref().is_none_or(Ran::has_failures);
        let mut progress = running.progress();
        let Some(ran) = ran.filter(|_| !running.ran_in_vain(failed)) else {
            running.interrupt(&mut progress, running.timed_out(), running.why());
            return running.answer(progress);
        };
        match ran {
            Ran::Mapped(column, failures) => {
                progress.ledger.chunk(batch.next(), pipeline, &column, failures);
            }
            Ran::Folded(entries) => progress.ledger.fold_entries(entries),
        }
        produced = progress.ledger.output_bytes();
        let before = std::mem::replace(&mut now, Instant::now());
        progress.busy = now - started;
        drop(progress);
        size.learn(now - before);
    }
    running.answer(running.progress());
}

/// What a chunk gave.
enum Ran {
    Mapped(Column, Vec<StepFailure>),
    Folded(Vec<Entry>),
}

impl Ran {
    fn has_failures(&self) -> bool {
        match self {
            Self::Mapped(_, failures) => !failures.is_empty(),
            Self::Folded(entries) => {
                !entries.iter().all(|entry| matches!(entry, Entry::Folded { .. }))
            }
        }
    }
}

/// Elements `first..to` through all steps; `None` when they were told to end, or a slot thread was
/// lost, on the way.
async fn run_chunk(
    running: &Arc<Running>,
    slots: &Slots,
    concurrency: usize,
    first: u32,
    to: u32,
    mut column: Column,
) -> Option<Ran> {
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
            let (outputs, failed) = tokio::select! {
                biased;
                // Dropping the step drops the futures of its operations, as they are told they
                // may be. (Blocking steps are waited for: a thread that does not come back must
                // stay in sight of those who replace it.)
                () = execution.cancelled.cancelled() => return None,
                ran = compiled.run_async(column, execution, concurrency, timeout) => ran,
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
    // Each chunk is a run of its own: an accumulator borrows its step and cannot wait between two
    // hops. The leader combines neighbours anyway.
    let hopping = Arc::clone(running);
    let entries = slots
        .hop(running, move || {
            let pipeline = &*hopping.pipeline;
            let mut folding = Folding::of(pipeline)?;
            hopping.step_begins(pipeline.last(), first);
            let mut entries = folding.absorb(first, column, failures, &hopping.context);
            let from = entries.iter().fold(first, |from, entry| entry.end(from));
            entries.extend(folding.close(from, to));
            hopping.step_ends();
            Some(entries)
        })
        .await??;
    Some(Ran::Folded(entries))
}
