//! The outputs of a step as bytes, to be read as another type of the same structure.

use std::ops::Range;

use phalanx_core::{
    operation::{ErrorKind, OperationError},
    registry::Column,
};

use super::{Pipeline, pipeline::StepFailure};

/// The outputs of a step as bytes. The slow path between two steps, taken only if the next step
/// does not accept the column unchanged.
pub(super) struct Encoded {
    bytes: Vec<u8>,
    /// The end of each value in `bytes`.
    ends: Vec<u32>,
    offsets: Vec<u32>,
}

impl Encoded {
    /// Encodes the outputs of step `step`. Values that do not serialize are left out, and their
    /// elements added to `failures`.
    pub(super) fn new(
        pipeline: &Pipeline,
        step: usize,
        column: &Column,
        failures: &mut Vec<StepFailure>,
    ) -> Self {
        let mut encoded = Self { bytes: Vec::new(), ends: Vec::new(), offsets: Vec::new() };
        let mut next = 0;
        while next < column.offsets.len() {
            let rest = next..column.offsets.len();
            let (bytes, ends) = (&mut encoded.bytes, Some(&mut encoded.ends));
            let (end, failure) = match pipeline.steps()[step].encode(column, rest, bytes, ends) {
                Ok(()) => (column.offsets.len(), None),
                Err((index, error)) => (next + index, Some(error)),
            };
            encoded.offsets.extend_from_slice(&column.offsets[next..end]);
            // Removes the partial encoding of the value that failed.
            encoded.ends.truncate(encoded.offsets.len());
            encoded.bytes.truncate(encoded.ends.last().map_or(0, |end| *end as usize));
            if let Some(error) = failure {
                let offset = column.offsets[end];
                failures.push(StepFailure { offset, step: step as u32, error });
            }
            next = end + 1;
        }
        encoded
    }

    pub(super) fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// Decodes the values in `range` as the input of step `step`.
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
            OperationError::new(
                ErrorKind::Codec,
                format!("not a valid input of `{name}`: {reason}"),
            )
        };
        let mut column = target
            .decode(&mut bytes, 0, range.len() as u32, usize::MAX)
            .map_err(|refusal| refused(refusal.to_string()))?;
        if column.offsets.len() != range.len() || !bytes.is_empty() {
            return Err(refused("the number of values differs".to_owned()));
        }
        column.offsets = self.offsets[range].to_vec();
        Ok(column)
    }
}
