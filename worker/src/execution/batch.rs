//! The elements of a task that have not been handed out yet.

use bytes::Bytes;
use phalanx_core::registry::{Column, Refusal};

use super::{Pipeline, chunk};

/// The elements of a task that have not been handed out yet.
pub(super) struct Batch {
    payload: Bytes,
    /// Bytes of the payload that have been decoded.
    read: usize,
    /// The offset of the next element.
    next: u32,
    count: u32,
}

impl Batch {
    pub(super) fn new(payload: Bytes, count: u32) -> Self {
        Self { payload, read: 0, next: 0, count }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next == self.count
    }

    /// The offset of the next element.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Decodes up to `max` elements. The last chunk must end with the payload: a batch of another
    /// length is not the one that the task speaks of.
    pub(super) fn chunk(&mut self, pipeline: &Pipeline, max: u32) -> Result<Column, Refusal> {
        let mut rest = &self.payload[self.read..];
        let before = rest.len();
        let max = max.min(self.count - self.next);
        let column = pipeline.decode(&mut rest, self.next, max, chunk::MAX_BYTES)?;
        self.read += before - rest.len();
        let decoded = column.origins.len() as u32;
        self.next += decoded.min(max);
        let undecodable = |reason: String| Refusal::Undecodable {
            name: pipeline.steps().first().map_or("", |step| step.name()).to_owned(),
            offset: self.next,
            reason,
        };
        if decoded == 0 || decoded > max {
            return Err(undecodable(format!("{decoded} elements where {max} were asked for")));
        }
        if self.is_empty() && !rest.is_empty() {
            return Err(undecodable(format!("{} bytes behind the last element", rest.len())));
        }
        Ok(column)
    }
}
