//! Driving an execution on a slot thread.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use phalanx_core::{
    operation::{ErrorKind, OperationError, panic_message},
    registry::Column,
    wire::NotRunReason,
};

use super::{
    Running, batch::Batch, folding::Folding, input::as_input, ledger::Ledger, pipeline::StepFailure,
};

/// Runs all steps on the thread that calls, and answers.
pub(crate) fn run_blocking(running: &Running) {
    // Steps catch the panics of operations. What comes through them (a `Drop` that panics, a bug
    // of ours) must still not leave the task without an answer.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drive(running))) {
        answer_panic(running, &*panic);
    }
}

/// Answers for an execution whose driver panicked.
pub(super) fn answer_panic(running: &Running, panic: &(dyn Any + Send)) {
    let error = OperationError::new(ErrorKind::Panic, panic_message(panic).to_owned());
    let blame = Some((running.last_place(), error));
    let mut progress = running.progress();
    running.interrupt(&mut progress, blame, NotRunReason::TimeSlice);
    running.answer(progress);
}

fn drive(running: &Running) {
    let started = running.begin();
    let pipeline = &*running.pipeline;
    if pipeline.steps().is_empty() {
        return running.pass_through();
    }
    let mut batch = Batch::new(running.task.payload.clone(), running.count());
    let mut folding = Folding::of(pipeline);
    let mut size = running.chunks(1);
    let (mut now, mut produced) = (started, 0);
    while !batch.is_empty() {
        let first = batch.next();
        if let Some(why) = running.cut(first, now - started, produced) {
            let mut progress = running.progress();
            close(&mut progress.ledger, &mut folding, first);
            progress.ledger.not_run(running.count(), why);
            return running.answer(progress);
        }
        running.chunk_begins(first);
        let mut column = match batch.chunk(pipeline, size.elements()) {
            Ok(column) => column,
            Err(refusal) => return running.refuse(refusal),
        };
        let mut failures = Vec::new();
        for step in pipeline.mapping() {
            if column.origins.is_empty() {
                break;
            }
            column = run_step(running, step, first, column, &mut failures);
        }
        let folded = match &mut folding {
            None => None,
            Some(folding) => {
                running.step_begins(pipeline.last(), first);
                let from = running.progress().ledger.at();
                let failures = std::mem::take(&mut failures);
                let column = std::mem::replace(&mut column, Column::empty());
                let entries = folding.absorb(from, column, failures, &running.context);
                running.step_ends();
                Some(entries)
            }
        };
        let failed = !failures.is_empty() || folded.as_ref().is_some_and(|all| !all.is_empty());
        let mut progress = running.progress();
        if progress.is_taken() {
            return;
        }
        if running.ran_in_vain(failed) {
            running.interrupt(&mut progress, running.timed_out(), running.why());
            return running.answer(progress);
        }
        match folded {
            Some(entries) => progress.ledger.fold_entries(entries),
            None => progress.ledger.chunk(batch.next(), pipeline, &column, failures),
        }
        produced = progress.ledger.output_bytes();
        let before = std::mem::replace(&mut now, Instant::now());
        progress.busy = now - started;
        drop(progress);
        size.learn(now - before);
    }
    let mut progress = running.progress();
    close(&mut progress.ledger, &mut folding, running.count());
    running.answer(progress);
}

/// Ends the run of the fold, if the stage folds, before `to`.
fn close(ledger: &mut Ledger, folding: &mut Option<Folding<'_>>, to: u32) {
    if let Some(folding) = folding {
        let entries = folding.close(ledger.at(), to);
        ledger.fold_entries(entries);
    }
}

/// Runs a blocking step on a chunk whose first element is `first`.
pub(super) fn run_step(
    running: &Running,
    step: usize,
    first: u32,
    column: Column,
    failures: &mut Vec<StepFailure>,
) -> Column {
    let column = as_input(&running.pipeline, step, column, failures);
    if column.origins.is_empty() {
        return column;
    }
    let mut failed = Vec::new();
    running.step_begins(step, first);
    let outputs = running.pipeline.steps()[step].run(column, &running.context, &mut failed);
    running.step_ends();
    failures.extend(failed.into_iter().map(|failure| StepFailure::in_step(step, failure)));
    outputs
}
