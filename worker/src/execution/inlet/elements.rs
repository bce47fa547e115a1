//! Elements that the payload has, and that the first step decodes.

use bytes::Bytes;
use phalanx_core::registry::{Column, Refusal};

use super::super::{Pipeline, chunk};

/// The elements of a task that have not been decoded yet.
pub(in crate::execution) struct Elements {
    payload: Bytes,
    /// Bytes of the payload that have been decoded.
    read: usize,
    /// The offset of the next element.
    next_offset: u32,
    count: u32,
}

impl Elements {
    pub(super) fn new(payload: Bytes, count: u32) -> Self {
        Self { payload, read: 0, next_offset: 0, count }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next_offset == self.count
    }

    /// The offset of the next element.
    pub(super) fn next_offset(&self) -> u32 {
        self.next_offset
    }

    /// Decodes up to `max` elements. The last chunk must end with the payload: otherwise the length
    /// of the batch differs from its header.
    pub(super) fn next_chunk(&mut self, pipeline: &Pipeline, max: u32) -> Result<Column, Refusal> {
        let mut rest = &self.payload[self.read..];
        let before = rest.len();
        let max = max.min(self.count - self.next_offset);
        let column = pipeline.decode(&mut rest, self.next_offset, max, chunk::MAX_BYTES)?;
        self.read += before - rest.len();
        let decoded = column.offsets.len() as u32;
        self.next_offset += decoded.min(max);
        let undecodable = |reason: String| Refusal::Undecodable {
            name: pipeline.steps().first().map_or("", |step| step.name()).to_owned(),
            offset: self.next_offset,
            reason,
        };
        if decoded == 0 || decoded > max {
            return Err(undecodable(format!("decoded {decoded} elements instead of {max}")));
        }
        if self.is_empty() && !rest.is_empty() {
            return Err(undecodable(format!(
                "{} bytes left over after the last element",
                rest.len()
            )));
        }
        Ok(column)
    }
}
