//! Elements between two steps.

use phalanx_core::registry::Column;

use super::{Pipeline, pipeline::StepFailure, rows::Rows};

/// Elements between two steps, or behind the last.
pub(super) enum Values {
    Typed(Column),
    Encoded(Rows),
}

impl Values {
    /// No values.
    pub(super) fn nothing() -> Self {
        Self::Typed(Column::empty())
    }

    /// The values as rows, in front of step `step`. Elements with values that do not serialize are added
    /// to `failures`.
    pub(super) fn into_rows(
        self,
        pipeline: &Pipeline,
        step: usize,
        failures: &mut Vec<StepFailure>,
    ) -> Rows {
        match self {
            Self::Encoded(rows) => rows,
            Self::Typed(column) if column.is_empty() => Rows::default(),
            Self::Typed(column) => {
                let before = step.saturating_sub(1);
                Rows::encode(pipeline, before, &column, failures, &mut Vec::new())
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Typed(column) => column.is_empty(),
            Self::Encoded(rows) => rows.len() == 0,
        }
    }
}
