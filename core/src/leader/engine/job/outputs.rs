//! Outputs of a stage on their way: to the reader, or to the next stage.

use bytes::Bytes;

use crate::operation::ExecuteError;

/// Encoded outputs of the last stage, and the elements that they come from.
#[derive(Debug, Clone)]
pub(crate) struct OutputBlock {
    /// The encodings of the outputs, one after the other.
    pub(crate) values: Bytes,
    /// The number of outputs.
    pub(crate) count: u32,
    /// The source index of each.
    pub(crate) indexes: Indexes,
    /// What the account of the job counts for them.
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

/// Outputs of the last stage, or a failure in their place.
#[derive(Debug, Clone)]
pub(crate) enum JobOutput {
    Outputs(OutputBlock),
    /// An element failed permanently; the job fails if it gets that far.
    Failure(Box<ExecuteError>),
}

/// Outputs of an earlier stage, or a failure in their place.
#[derive(Debug, Clone)]
pub(crate) enum StageOutput {
    Outputs {
        bytes: Bytes,
        /// Where each encoding ends in `bytes`.
        ends: Vec<u32>,
        /// The source index of each.
        indexes: Vec<u64>,
    },
    Failure(Box<ExecuteError>),
}

impl StageOutput {
    /// What it takes of the leader's memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Outputs { bytes, ends, indexes } => {
                bytes.len() + 4 * ends.len() + 8 * indexes.len()
            }
            Self::Failure(_) => 0,
        }
    }
}
