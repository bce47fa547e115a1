//! A column as bytes: what can be cut anywhere, and read as another type of the same structure.

use std::ops::Range;

use phalanx_core::{
    operation::{ErrorKind, OperationError},
    registry::Column,
};

use super::{Pipeline, pipeline::StepFailure};

/// The outputs of a step as bytes: what can be cut anywhere, and read as another type of the same
/// structure. The slow way, taken only where a column cannot be handed on as it is.
pub(super) struct Encoded {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    origins: Vec<u32>,
}

impl Encoded {
    /// The outputs of step `step`; those of elements that are in `failures`, or that join them
    /// because they do not serialize, are left out.
    pub(super) fn new(
        pipeline: &Pipeline,
        step: usize,
        column: &Column,
        failures: &mut Vec<StepFailure>,
    ) -> Self {
        let mut encoded = Self { bytes: Vec::new(), ends: Vec::new(), origins: Vec::new() };
        let mut at = 0;
        while at < column.origins.len() {
            let rest = at..column.origins.len();
            let (bytes, ends) = (&mut encoded.bytes, Some(&mut encoded.ends));
            let (behind, failure) = match pipeline.steps()[step].encode(column, rest, bytes, ends) {
                Ok(()) => (column.origins.len(), None),
                Err((index, error)) => (at + index, Some(error)),
            };
            encoded.origins.extend_from_slice(&column.origins[at..behind]);
            // What was written of the value that failed.
            encoded.ends.truncate(encoded.origins.len());
            encoded.bytes.truncate(encoded.ends.last().map_or(0, |end| *end as usize));
            if let Some(error) = failure {
                let origin = column.origins[behind];
                failures.push(StepFailure { origin, step: step as u32, error });
            }
            at = behind + 1;
        }
        encoded
    }

    pub(super) fn origins(&self) -> &[u32] {
        &self.origins
    }

    /// The values `range` as input of step `step`.
    pub(super) fn column(
        &self,
        pipeline: &Pipeline,
        step: usize,
        range: Range<usize>,
    ) -> Result<Column, OperationError> {
        let start = range.start.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let end = range.end.checked_sub(1).map_or(0, |last| self.ends[last] as usize);
        let mut bytes = &self.bytes[start..end.max(start)];
        let target = &pipeline.steps()[step];
        let refused = |reason: String| {
            let name = target.name();
            OperationError::new(ErrorKind::Codec, format!("no input of `{name}`: {reason}"))
        };
        let mut column = target
            .decode(&mut bytes, 0, range.len() as u32, usize::MAX)
            .map_err(|refusal| refused(refusal.to_string()))?;
        if column.origins.len() != range.len() || !bytes.is_empty() {
            return Err(refused("another number of values".to_owned()));
        }
        column.origins = self.origins[range].to_vec();
        Ok(column)
    }
}
