//! Partial results of a fold.

use bytes::Bytes;

/// The number of elements in a leaf of a fold of fixed shape; the last leaf can have fewer.
pub(crate) const LEAF: u32 = 1024;

/// A partial result: the fold of the elements at the stage positions `from..to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partial {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The encoded value; `None` if no element was left to fold, because all were filtered out.
    pub(crate) bytes: Option<Bytes>,
    /// The number of the next try to combine it, from 1.
    pub(crate) tries: u32,
}

impl Partial {
    pub(crate) fn new(from: u64, to: u64, bytes: Option<Bytes>) -> Self {
        Self { from, to, bytes, tries: 1 }
    }

    /// The encoded size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.as_ref().map_or(0, Bytes::len)
    }
}

/// The state of a job that decides which partial results are combined next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FoldState {
    /// The number of neighbours that a task combines, if they fit into it, while more can arrive.
    pub(crate) wanted: usize,
    /// The number of positions of the stage, once it is known.
    pub(crate) total: Option<u64>,
    /// Whether nothing more will be inserted, except combinations that are under way.
    pub(crate) complete: bool,
}
