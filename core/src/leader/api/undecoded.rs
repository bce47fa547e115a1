//! Decodes blocks of outputs in chunks.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Buf;

use crate::{codec::CodecError, error::Error, id::JobId, leader::engine::OutputBlock};

/// The encoded bytes after which a chunk of decoded outputs ends.
const CHUNK_BYTES: usize = 64 * 1024;

/// The most outputs in a chunk.
pub(super) const CHUNK_ELEMENTS: usize = 4096;

/// A block of outputs that is decoded chunk by chunk.
pub(super) struct Undecoded {
    job: JobId,
    /// The values of outputs that are decoded have been cut off.
    block: OutputBlock,
    /// The number of outputs that are decoded.
    next: usize,
}

impl Undecoded {
    pub(super) fn new(job: JobId, block: OutputBlock) -> Self {
        Self { job, block, next: 0 }
    }

    /// The number of outputs that are not decoded yet.
    pub(super) fn len(&self) -> usize {
        self.block.count as usize - self.next
    }

    /// Decodes one chunk. `decode` gets the index of each output and the bytes from there on, of
    /// which it cuts off the output. It can break off the chunk after an output.
    pub(super) fn decode_chunk(
        &mut self,
        mut decode: impl FnMut(u64, &mut &[u8]) -> Result<ControlFlow<()>, CodecError>,
    ) -> Result<(), Error> {
        // The code of the user may panic; the job must not end as if it had succeeded.
        catch_unwind(AssertUnwindSafe(|| self.decode(&mut decode)))
            .unwrap_or_else(|_| Err("its `Deserialize` or `Ord` panicked".to_owned()))
            .map_err(|reason| {
                let last = (self.block.count as usize).saturating_sub(1);
                let index = self.block.indexes.get(self.next.min(last));
                Error::Decode { job: self.job, index, reason }
            })
    }

    fn decode(
        &mut self,
        decode: &mut impl FnMut(u64, &mut &[u8]) -> Result<ControlFlow<()>, CodecError>,
    ) -> Result<(), String> {
        let (values, count) = (&self.block.values, self.block.count as usize);
        let mut rest = &values[..];
        let end = count.min(self.next + CHUNK_ELEMENTS);
        while self.next < end && values.len() - rest.len() < CHUNK_BYTES {
            let index = self.block.indexes.get(self.next);
            let flow = decode(index, &mut rest).map_err(|error| error.to_string())?;
            self.next += 1;
            if flow.is_break() {
                return Ok(());
            }
        }
        if self.next == count && !rest.is_empty() {
            return Err(format!("{} bytes are left over", rest.len()));
        }
        let decoded = values.len() - rest.len();
        self.block.values.advance(decoded);
        Ok(())
    }
}
