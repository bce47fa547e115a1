//! What a step takes from the one before it.

use phalanx_core::registry::{Column, Failure};

use super::{Pipeline, encoded::Encoded, pipeline::StepFailure};

/// The outputs of one step as inputs of the next, which may know their structure by another type.
pub(super) fn as_input(
    pipeline: &Pipeline,
    step: usize,
    column: Column,
    failures: &mut Vec<StepFailure>,
) -> Column {
    let Some(before) = step.checked_sub(1) else { return column };
    if pipeline.steps()[step].accepts(&column) {
        return column;
    }
    let encoded = Encoded::new(pipeline, before, &column, failures);
    if encoded.origins().is_empty() {
        return Column::empty();
    }
    encoded.column(pipeline, step, 0..encoded.origins().len()).unwrap_or_else(|error| {
        let failed = |origin: &u32| Failure { origin: *origin, error: error.clone() };
        let all = encoded.origins().iter().map(failed);
        failures.extend(all.map(|failure| StepFailure::in_step(step, failure)));
        Column::empty()
    })
}
