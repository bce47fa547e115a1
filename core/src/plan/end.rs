//! The ends of plans.

use bytes::Bytes;

/// The end of a plan: what happens to the outputs of its last stages.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum End {
    /// They go to the reader of the stream.
    Stream {
        /// In input order rather than as completed.
        ordered: bool,
        /// The most outputs to deliver; `None` for all.
        take: Option<u64>,
    },
    /// The largest go to the reader, perhaps among others, as completed.
    Top {
        /// How many.
        most: u64,
        /// Whether they are pairs that are compared by their keys.
        by_key: bool,
    },
    /// The last step is a `Fold` or `Reduce`: one value, or none if there was no input.
    Fold {
        /// The encoded value of a fold without input; `None` for `Reduce`.
        empty: Option<Bytes>,
        /// Whether the tree has a fixed shape: leaves of 1,024 elements that are never split.
        deterministic: bool,
    },
    /// The number of outputs, as a `u64`.
    Count,
}

impl Default for End {
    fn default() -> Self {
        Self::Stream { ordered: false, take: None }
    }
}
