//! How many elements go through all steps at once.

use std::time::Duration;

/// The largest chunk, in elements.
pub(crate) const MAX_ELEMENTS: u32 = 1_024;

/// The largest chunk, in bytes of encoded input (one element may be larger).
pub(crate) const MAX_BYTES: usize = 64 << 10;

/// A chunk that takes less is followed by one of twice its size.
const SHORT: Duration = Duration::from_micros(200);

/// How many elements the next chunk has at most.
///
/// It starts at one, because nothing is known of the first element's cost, and cancel, time slice
/// and blame are only looked at between chunks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkSize {
    elements: u32,
    least: u32,
    most: u32,
}

impl ChunkSize {
    /// One element each.
    pub(crate) const ONE: Self = Self { elements: 1, least: 1, most: 1 };

    /// Sizes that begin with, and never fall below, `least`.
    pub(crate) fn starting_at(least: u32) -> Self {
        let least = least.clamp(1, MAX_ELEMENTS);
        Self { elements: least, least, most: MAX_ELEMENTS }
    }

    pub(crate) fn elements(self) -> u32 {
        self.elements
    }

    /// Learns from a chunk that took `took`. A long one halves the next, so that a slow part of a
    /// batch is cut about as finely as a slow batch.
    pub(crate) fn learn(&mut self, took: Duration) {
        if took < SHORT {
            self.elements = (self.elements * 2).min(self.most);
        } else if took > 4 * SHORT {
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
            size.learn(Duration::from_micros(10));
        }
        assert_eq!(size.elements(), MAX_ELEMENTS);
        size.learn(Duration::from_micros(300));
        assert_eq!(size.elements(), MAX_ELEMENTS);
        for _ in 0..20 {
            size.learn(Duration::from_millis(5));
        }
        assert_eq!(size.elements(), 1);
    }
}
