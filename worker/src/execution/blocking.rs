//! Drives an execution on a slot thread.

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

/// Runs all steps on the calling thread, and replies.
pub(crate) fn run_blocking(running: &Running) {
    // Steps catch the panics of operations. A panic that passes through them (in a `Drop`, or from
    // a bug of Phalanx) must not leave the task without a reply either.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drive(running))) {
        reply_panic(running, &*panic);
    }
}

/// Replies for an execution whose driver panicked.
pub(super) fn reply_panic(running: &Running, panic: &(dyn Any + Send)) {
    let error = OperationError::new(ErrorKind::Panic, panic_message(panic).to_owned());
    let blamed = Some((running.last_mark(), error));
    let mut progress = running.progress();
    running.mark_rest_not_run(&mut progress, blamed, NotRunReason::TimeSlice);
    running.reply(progress);
}

fn drive(running: &Running) {
    let started = running.start();
    let pipeline = &*running.pipeline;
    if pipeline.steps().is_empty() {
        return running.pass_through();
    }
    let mut batch = Batch::new(running.task.payload.clone(), running.count());
    let mut folding = Folding::of(pipeline);
    let mut size = running.chunk_sizes(1);
    let (mut now, mut output_bytes) = (started, 0);
    while !batch.is_empty() {
        let first = batch.next_offset();
        if let Some(reason) = running.must_end(first, now - started, output_bytes) {
            let mut progress = running.progress();
            finish_fold(&mut progress.ledger, &mut folding, first);
            progress.ledger.not_run(running.count(), reason);
            return running.reply(progress);
        }
        running.report_chunk(first);
        let mut column = match batch.next_chunk(pipeline, size.elements()) {
            Ok(column) => column,
            Err(refusal) => return running.refuse(refusal),
        };
        let mut failures = Vec::new();
        for step in pipeline.mapping() {
            if column.offsets.is_empty() {
                break;
            }
            column = run_step(running, step, first, column, &mut failures);
        }
        let folded = match &mut folding {
            None => None,
            Some(folding) => {
                running.begin_step(pipeline.last(), first);
                let from = running.progress().ledger.next_offset();
                let failures = std::mem::take(&mut failures);
                let column = std::mem::replace(&mut column, Column::empty());
                let entries = folding.absorb(from, column, failures, &running.context);
                running.end_step();
                Some(entries)
            }
        };
        let failed = !failures.is_empty() || folded.as_ref().is_some_and(|all| !all.is_empty());
        let mut progress = running.progress();
        if progress.is_replied() {
            return;
        }
        if running.must_discard_chunk(failed) {
            let (blamed, reason) = (running.timed_out(), running.not_run_reason());
            running.mark_rest_not_run(&mut progress, blamed, reason);
            return running.reply(progress);
        }
        match folded {
            Some(entries) => progress.ledger.folded_all(entries),
            None => progress.ledger.chunk(batch.next_offset(), pipeline, &column, failures),
        }
        output_bytes = progress.ledger.output_bytes();
        let before = std::mem::replace(&mut now, Instant::now());
        progress.busy = now - started;
        drop(progress);
        size.adjust(now - before);
    }
    let mut progress = running.progress();
    finish_fold(&mut progress.ledger, &mut folding, running.count());
    running.reply(progress);
}

/// Ends the segment that the fold accumulates, if the stage folds, before the offset `to`.
fn finish_fold(ledger: &mut Ledger, folding: &mut Option<Folding<'_>>, to: u32) {
    if let Some(folding) = folding {
        let entries = folding.finish(ledger.next_offset(), to);
        ledger.folded_all(entries);
    }
}

/// Runs a blocking step on a chunk whose first element is at `first`.
pub(super) fn run_step(
    running: &Running,
    step: usize,
    first: u32,
    column: Column,
    failures: &mut Vec<StepFailure>,
) -> Column {
    let column = as_input(&running.pipeline, step, column, failures);
    if column.offsets.is_empty() {
        return column;
    }
    let mut failed = Vec::new();
    running.begin_step(step, first);
    let outputs = running.pipeline.steps()[step].run(column, &running.context, &mut failed);
    running.end_step();
    failures.extend(failed.into_iter().map(|failure| StepFailure::in_step(step, failure)));
    outputs
}
