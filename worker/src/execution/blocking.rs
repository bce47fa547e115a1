//! Drives an execution on a slot thread.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use futures::executor::block_on;
use phalanx_core::{
    operation::{ErrorKind, OperationError, panic_message},
    wire::NotRunReason,
};

use super::{
    Running,
    inlet::Inlet,
    keyed::{Prepared, complete, prepare},
    ledger::Ledger,
    outlet::{self, Blocks, Folding, Scattering},
    pipeline::StepFailure,
    rows::Rows,
    values::Values,
};
use crate::reply::WindowPermit;

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
    if running.passes_through() {
        return running.pass_through();
    }
    let mut inlet = Inlet::of(running);
    let mut folding = Folding::of(pipeline);
    let mut scattering = Scattering::of(running);
    let mut size = running.chunk_sizes(1);
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
            return finish(running, folding, scattering, first, Some(reason));
        }
        running.report_chunk(first);
        let chunk = match inlet.next_chunk(running, size.elements()) {
            Ok(chunk) => chunk,
            Err(refusal) => return running.refuse(refusal),
        };
        if inlet.computes() {
            let before = std::mem::replace(&mut now, Instant::now());
            gathering += now - before;
        }
        let (to, mut failures) = (inlet.next_offset(), chunk.failures);
        let mut waited = Duration::ZERO;
        let mut values = chunk.values;
        for step in running.mapping() {
            if values.is_empty() {
                break;
            }
            values = run_step(running, step, first, values, &mut failures);
        }
        if let Some(mut scatter) = scattering.take() {
            let rows = scatter.rows_of(running, values, &mut failures);
            if running.must_discard_chunk(!failures.is_empty()) {
                return discard_chunk(running, Some(scatter));
            }
            match scatter.absorb(running, (first, to), rows, failures) {
                Ok(entries) => running.progress().ledger.record(entries),
                Err(broken) => return running.reply_broken(broken, to),
            }
            if running.must_discard_chunk(false) {
                // The combination that has just ended ran longer than its timeout.
                return discard_chunk(running, None);
            }
            output_bytes = scatter.size();
            scattering = Some(scatter);
        } else {
            let entries = folding.as_mut().map(|folding| {
                running.begin_step(pipeline.last(), first);
                let (from, gaps) = segment(running, first, to);
                let values = std::mem::replace(&mut values, Values::nothing());
                let column = running.as_folded(values, &mut failures);
                let failures = std::mem::take(&mut failures);
                let entries = folding.absorb(from, column, failures, &gaps, &running.context);
                running.end_step();
                entries
            });
            let values = running.as_outputs(values, &mut failures);
            let failed =
                !failures.is_empty() || entries.as_ref().is_some_and(|all| !all.is_empty());
            let mut progress = running.progress();
            if progress.is_replied() {
                return;
            }
            if running.must_discard_chunk(failed) {
                let (blamed, reason) = (running.timed_out(), running.not_run_reason());
                running.mark_rest_not_run(&mut progress, blamed, reason);
                return running.reply(progress);
            }
            match (entries, &values) {
                (Some(entries), _) => progress.ledger.record(entries),
                (None, Values::Typed(column)) => {
                    progress.ledger.chunk(to, pipeline, column, failures);
                }
                (None, Values::Encoded(rows)) => {
                    progress.ledger.rows(to, rows, running.output_layout(), failures);
                }
            }
            if chunk.ends_list {
                finish_fold(&mut progress.ledger, &mut folding, to);
            }
            drop(progress);
            waited = block_on(running.queue_outputs());
            output_bytes = running.progress().ledger.output_bytes();
        }
        let mut progress = running.progress();
        if progress.is_replied() {
            return;
        }
        if chunk.ends_list {
            progress.ledger.cut();
        }
        let before = std::mem::replace(&mut now, Instant::now());
        waiting += waited;
        progress.busy = (now - started).saturating_sub(waiting);
        drop(progress);
        size.adjust((now - before).saturating_sub(waited));
    }
    finish(running, folding, scattering, inlet.next_offset(), None);
}

/// Replies with what was done before the chunk that must be discarded. Nothing of that counts
/// without `scattering`, because what combines the outputs has perhaps seen some of the chunk.
fn discard_chunk(running: &Running, scattering: Option<Scattering>) {
    let blocks = scattering.and_then(|scattering| scattering.finish(&running.pipeline).ok());
    let permit = enter_window(running, blocks.as_ref());
    let mut progress = running.progress();
    if progress.is_replied() {
        return;
    }
    (progress.blocks, progress.permit) = (blocks, permit);
    let (blamed, reason) = (running.timed_out(), running.not_run_reason());
    running.mark_rest_not_run(&mut progress, blamed, reason);
    running.reply(progress);
}

/// Ends the outlets before the offset `to`, and replies. The elements behind it were not run, for
/// this reason.
fn finish(
    running: &Running,
    mut folding: Option<Folding<'_>>,
    scattering: Option<Scattering>,
    to: u32,
    reason: Option<NotRunReason>,
) {
    let blocks = scattering.map(|scattering| scattering.finish(&running.pipeline)).transpose();
    let blocks = match blocks {
        Ok(blocks) => blocks,
        Err(broken) => return running.reply_broken(broken, to),
    };
    let permit = enter_window(running, blocks.as_ref());
    if let Some((order, most)) = outlet::order(running) {
        outlet::trim(running, order, most);
    }
    let mut progress = running.progress();
    if progress.is_replied() {
        return;
    }
    (progress.blocks, progress.permit) = (blocks, permit);
    finish_fold(&mut progress.ledger, &mut folding, to);
    if let Some(reason) = reason {
        progress.ledger.not_run(running.count(), reason);
    }
    running.reply(progress);
}

/// Waits for room for blocks that go through queues. The slot waits with its task: nothing else
/// bounds what a worker holds while the broker is slow.
fn enter_window(running: &Running, blocks: Option<&Blocks>) -> Option<WindowPermit> {
    blocks.and_then(|blocks| block_on(running.enter_window(blocks.bytes.len())))
}

/// Where the segment of the fold begins, and the gaps among the elements at the offsets
/// `first..to`.
pub(super) fn segment(running: &Running, first: u32, to: u32) -> (u32, Vec<u32>) {
    let ledger = &running.progress().ledger;
    (ledger.next_offset(), ledger.gaps(first..to).to_vec())
}

/// Ends the segment that the fold accumulates, if the stage folds, before the offset `to`.
fn finish_fold(ledger: &mut Ledger, folding: &mut Option<Folding<'_>>, to: u32) {
    if let Some(folding) = folding {
        let entries = folding.finish(ledger.next_offset(), to);
        ledger.record(entries);
    }
}

/// Runs a blocking step on a chunk whose first element is at `first`.
pub(super) fn run_step(
    running: &Running,
    step: usize,
    first: u32,
    values: Values,
    failures: &mut Vec<StepFailure>,
) -> Values {
    let pipeline = &running.pipeline;
    let (column, rows) = match prepare(running, step, values, failures) {
        Prepared::Run(column, rows) => (column, rows),
        Prepared::Done(rows) => return Values::Encoded(rows),
    };
    if column.is_empty() {
        return Values::nothing();
    }
    let operation = &pipeline.steps()[step];
    let mut failed = Vec::new();
    running.begin_step(step, first);
    if operation.encodes() && running.needs_rows_of(step) {
        let encoded = operation.run_encoded(column, &running.context, &mut failed);
        running.end_step();
        failures.extend(failed.into_iter().map(|failure| StepFailure::in_step(step, failure)));
        return Values::Encoded(Rows::encoded(encoded));
    }
    let outputs = operation.run(column, &running.context, &mut failed);
    running.end_step();
    let failed: Vec<StepFailure> =
        failed.into_iter().map(|failure| StepFailure::in_step(step, failure)).collect();
    let values = complete(pipeline, step, rows, outputs, &failed, failures);
    failures.extend(failed);
    values
}
