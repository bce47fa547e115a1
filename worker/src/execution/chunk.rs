//! Chunk sizes: how many elements pass through all steps together.

use std::time::Duration;

/// The largest chunk, in elements.
pub(crate) const MAX_ELEMENTS: u32 = 1_024;

/// The largest chunk, in bytes of encoded input. A chunk of one element may be larger.
pub(crate) const MAX_BYTES: usize = 64 << 10;

/// If a chunk takes less than this, the next chunk is twice as large.
const SHORT_CHUNK: Duration = Duration::from_micros(200);

/// The largest number of elements in the next chunk.
///
/// A blocking execution starts with one element: the cost of an element is unknown at first, and
/// cancellation, time slice and output cap are only checked between chunks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkSize {
    elements: u32,
    least: u32,
    most: u32,
}

impl ChunkSize {
    /// Chunks of one element each.
    pub(crate) const ONE: Self = Self { elements: 1, least: 1, most: 1 };

    /// Sizes that start at `least`, and never fall below it.
    pub(crate) fn starting_at(least: u32) -> Self {
        let least = least.clamp(1, MAX_ELEMENTS);
        Self { elements: least, least, most: MAX_ELEMENTS }
    }

    pub(crate) fn elements(self) -> u32 {
        self.elements
    }

    /// Adjusts the size after a chunk that took `took`. A long chunk halves the next, so that slow
    /// elements among fast ones are cut about as finely as a slow batch.
    pub(crate) fn adjust(&mut self, took: Duration) {
        if took < SHORT_CHUNK {
            self.elements = (self.elements * 2).min(self.most);
        } else if took > 4 * SHORT_CHUNK {
            self.elements = (self.elements / 2).max(self.least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_while_they_are_short_and_shrink_when_they_are_long() {
        let mut size = ChunkSize::starting_at(1);
        for _ in 0..20 {
            size.adjust(Duration::from_micros(10));
        }
        assert_eq!(size.elements(), MAX_ELEMENTS);
        size.adjust(Duration::from_micros(300));
        assert_eq!(size.elements(), MAX_ELEMENTS);
        for _ in 0..20 {
            size.adjust(Duration::from_millis(5));
        }
        assert_eq!(size.elements(), 1);
    }
}
