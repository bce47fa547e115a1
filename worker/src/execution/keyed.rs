//! Steps that look at the keys or the values of pairs, and keep the other part as it is.

use std::sync::Arc;

use phalanx_core::{
    operation::{ErrorKind, OperationError, TaskContext},
    registry::{Column, Sample, Verb},
};

use super::{
    Pipeline, Running,
    input::as_input,
    pipeline::StepFailure,
    rows::{Part, Rows},
    values::Values,
};

/// What a step is to do.
pub(super) enum Prepared {
    /// It runs its operation on these. The rows are what its outputs belong to, if it looks at a
    /// part of them alone.
    Run(Column, Option<Rows>),
    /// It has no operation, and these are its outputs.
    Done(Rows),
}

/// Makes the input of step `step` from the values before it. Elements whose values are no such
/// input are added to `failures`.
pub(super) fn prepare(
    running: &Running,
    step: usize,
    values: Values,
    failures: &mut Vec<StepFailure>,
) -> Prepared {
    let pipeline = &*running.pipeline;
    if let Some(sample) = pipeline.sample(step) {
        let rows = values.into_rows(pipeline, step, failures);
        return Prepared::Done(sampled(running, sample, rows));
    }
    let part = match pipeline.verb(step) {
        Verb::MapValues | Verb::FlatMapValues | Verb::FilterValues => Part::Value,
        Verb::FilterKeys => Part::Key,
        Verb::KeyBy => Part::Whole,
        Verb::Keys => {
            return Prepared::Done(values.into_rows(pipeline, step, failures).only(Part::Key));
        }
        Verb::Values => {
            return Prepared::Done(values.into_rows(pipeline, step, failures).only(Part::Value));
        }
        Verb::Swap => return Prepared::Done(values.into_rows(pipeline, step, failures).swapped()),
        _ => {
            let column = match values {
                Values::Typed(column) => as_input(pipeline, step, column, failures),
                Values::Encoded(rows) => rows.decode(pipeline, step, Part::Whole, failures),
            };
            return Prepared::Run(column, None);
        }
    };
    let rows = values.into_rows(pipeline, step, failures);
    let column = rows.decode(pipeline, step, part, failures);
    Prepared::Run(column, Some(rows))
}

/// The rows that a sample keeps.
fn sampled(running: &Running, sample: &Sample, mut rows: Rows) -> Rows {
    let context = TaskContext::new(Arc::clone(running.context.execution()), 0);
    let (mut offset, mut index, mut number) = (None, 0, 0);
    rows.retain(|at, row| {
        // Which of the rows of its element it is.
        number = if offset == Some(at) { number + 1 } else { 0 };
        if number == 0 {
            context.set_offset(at);
            (offset, index) = (Some(at), context.index());
        }
        sample.keeps(index, number, row)
    });
    rows
}

/// Puts the outputs of step `step` beside the part that it has not looked at. `failed` are the
/// failures of its operation.
pub(super) fn complete(
    pipeline: &Pipeline,
    step: usize,
    rows: Option<Rows>,
    outputs: Column,
    failed: &[StepFailure],
    failures: &mut Vec<StepFailure>,
) -> Values {
    let Some(rows) = rows else { return Values::Typed(outputs) };
    let verb = pipeline.verb(step);
    // The row that each output was made from.
    let sources: Vec<u32> = match &outputs.sources {
        Some(sources) => sources.clone(),
        // Each row has one, but those of failed elements.
        None => {
            let has_failed = |row: &u32| {
                let offset = rows.offsets()[*row as usize];
                failed.iter().any(|failure| failure.offset == offset)
            };
            (0..rows.len() as u32).filter(|row| !has_failed(row)).collect()
        }
    };
    let mut completed = Rows::default();
    if let Verb::FilterValues | Verb::FilterKeys = verb {
        let kept = outputs.values::<bool>().unwrap_or_default();
        for (row, _) in sources.iter().zip(kept).filter(|(_, kept)| **kept) {
            let (key, value) = rows.get(*row as usize);
            completed.push(rows.offsets()[*row as usize], key, |out| out.extend_from_slice(value));
        }
        return Values::Encoded(completed);
    }
    let mut dropped = Vec::new();
    let encoded = Rows::encode(pipeline, step, &outputs, failures, &mut dropped);
    let mut dropped = dropped.into_iter().peekable();
    let made = sources.into_iter().enumerate();
    let made = made.filter(|(output, _)| dropped.next_if_eq(output).is_none());
    for (output, (_, source)) in made.enumerate().take(encoded.len()) {
        let (offset, row) = (encoded.offsets()[output], source as usize);
        let (key, value) = match verb {
            Verb::KeyBy => (encoded.whole(output), rows.whole(row)),
            _ => (rows.get(row).0, encoded.whole(output)),
        };
        if completed.has_room(key.len() + value.len()) {
            completed.push(offset, key, |out| out.extend_from_slice(value));
        } else {
            failures.push(StepFailure {
                offset,
                step: step as u32,
                error: too_large(pipeline, step),
            });
        }
    }
    Values::Encoded(completed)
}

#[cold]
fn too_large(pipeline: &Pipeline, step: usize) -> OperationError {
    let name = pipeline.steps()[step].name();
    let text = format!(
        "the outputs of `{name}` take up more than 4 GiB with their keys, for some elements together"
    );
    OperationError::new(ErrorKind::TooLarge, text)
}
