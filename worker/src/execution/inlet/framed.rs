//! Elements whose keys and values the payload has.

use bytes::Bytes;
use phalanx_core::{codec::read_frame, registry::Refusal};

use super::super::{chunk, rows::Rows};

/// Framed elements that have not begun yet.
pub(in crate::execution) struct Framed {
    payload: Bytes,
    /// Bytes of the payload that have been read.
    read: usize,
    /// The offset of the next element.
    next_offset: u32,
    count: u32,
}

impl Framed {
    pub(super) fn new(payload: Bytes, count: u32) -> Self {
        Self { payload, read: 0, next_offset: 0, count }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.next_offset == self.count
    }

    pub(super) fn next_offset(&self) -> u32 {
        self.next_offset
    }

    /// Reads up to `max` elements. The last one must end with the payload.
    pub(super) fn next_chunk(&mut self, max: u32) -> Result<Rows, Refusal> {
        let malformed = |reason: &str| Refusal::Message { reason: reason.to_owned() };
        let mut rest = &self.payload[self.read..];
        let (before, mut rows) = (rest.len(), Rows::default());
        while !self.is_empty() && (rows.len() as u32) < max && rows.size() < chunk::MAX_BYTES {
            let Some((key, value)) = read_frame(&mut rest) else {
                return Err(malformed("the frame of an element is cut off"));
            };
            rows.push(self.next_offset, key, |out| out.extend_from_slice(value));
            self.next_offset += 1;
        }
        self.read += before - rest.len();
        if self.is_empty() && !rest.is_empty() {
            return Err(malformed("bytes are left over after the last element"));
        }
        Ok(rows)
    }
}
