//! What becomes of the last stage's outputs.

use bytes::Bytes;

/// What becomes of the last stage's outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// They go to who reads the stream.
    Stream {
        /// In input order rather than as completed.
        ordered: bool,
        /// No more than this many.
        take: Option<u64>,
    },
    /// The last step is a `Fold` or `Reduce`: one value, or none where there was no input.
    Fold {
        /// The value over nothing; `None` for `Reduce`.
        empty: Option<Bytes>,
        /// Leaves of 1,024 elements, never cut, and a tree of fixed shape.
        deterministic: bool,
    },
    /// How many outputs there are, as a `u64`.
    Count,
}

impl Default for End {
    fn default() -> Self {
        Self::Stream { ordered: false, take: None }
    }
}
