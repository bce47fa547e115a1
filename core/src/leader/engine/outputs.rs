//! Outputs of a job on their way to its reader.

use bytes::Bytes;

/// Outputs as the engine hands them out.
#[derive(Debug, Clone)]
pub(crate) struct OutputParts {
    pub(crate) values: Bytes,
    pub(crate) count: u32,
    pub(crate) indexes: Indexes,
    /// What the job's credit holds for them.
    pub(crate) charged: usize,
}

/// The index in the source of each output of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Indexes {
    /// `first`, `first + 1`, …
    Range { first: u64 },
    /// One for each output.
    Each(Vec<u64>),
}

impl Indexes {
    /// The index of the output at this place.
    pub(crate) fn get(&self, at: usize) -> u64 {
        match self {
            Self::Range { first } => first + at as u64,
            Self::Each(all) => all.get(at).copied().unwrap_or_default(),
        }
    }
}
