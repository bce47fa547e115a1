//! The outputs of one step as the input of the next.

use phalanx_core::registry::{Column, FailedElement};

use super::{Pipeline, encoded::Encoded, pipeline::StepFailure};

/// Converts the outputs of the step before `step` into its input, whose type may differ as long as
/// it has the same structure.
pub(super) fn as_input(
    pipeline: &Pipeline,
    step: usize,
    column: Column,
    failures: &mut Vec<StepFailure>,
) -> Column {
    let Some(previous) = step.checked_sub(1) else { return column };
    if pipeline.steps()[step].accepts(&column) {
        return column;
    }
    let encoded = Encoded::new(pipeline, previous, &column, failures);
    if encoded.offsets().is_empty() {
        return Column::empty();
    }
    encoded.column(pipeline, step, 0..encoded.offsets().len()).unwrap_or_else(|error| {
        let failed = |offset: &u32| FailedElement { offset: *offset, error: error.clone() };
        let all = encoded.offsets().iter().map(failed);
        failures.extend(all.map(|failure| StepFailure::in_step(step, failure)));
        Column::empty()
    })
}
