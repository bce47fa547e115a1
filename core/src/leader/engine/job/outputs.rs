//! Blocks of outputs between a stage and the next one, or the reader.

use bytes::Bytes;

use super::QueuedOutputs;
use crate::operation::ExecuteError;

/// Encoded outputs of a last stage, with their indexes.
#[derive(Debug, Clone, Default)]
pub(crate) struct OutputBlock {
    /// The encodings of the outputs, one after the other.
    pub(crate) values: Bytes,
    /// The number of outputs.
    pub(crate) count: u32,
    /// The index of each output.
    pub(crate) indexes: Indexes,
    /// The bytes that the account of the job is charged for the block.
    pub(crate) charged: usize,
}

/// The index of each output of a block: that of its element in the source, or its number among the
/// outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Indexes {
    /// `first`, `first + 1`, …
    Range { first: u64 },
    /// One for each output.
    Each(Vec<u64>),
}

impl Default for Indexes {
    fn default() -> Self {
        Self::Range { first: 0 }
    }
}

impl Indexes {
    /// The index of the output with this number in the block, from 0.
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
    /// Outputs that wait in the queue of their task.
    Queued(QueuedOutputs),
    /// An element failed permanently. The job fails when its outputs reach this position.
    Failure(Box<ExecuteError>),
}

/// Outputs of an earlier stage, or a failure in their place.
#[derive(Debug, Clone)]
pub(crate) enum StageOutput {
    Outputs {
        bytes: Bytes,
        /// The end of each encoding in `bytes`.
        ends: Vec<u32>,
        /// The source index of each output.
        indexes: Vec<u64>,
    },
    Failure(Box<ExecuteError>),
}

impl StageOutput {
    /// No outputs: there are no elements at these positions.
    pub(crate) fn empty() -> Self {
        Self::Outputs { bytes: Bytes::new(), ends: Vec::new(), indexes: Vec::new() }
    }

    /// The memory of the leader that it takes up, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Outputs { bytes, ends, indexes } => {
                bytes.len() + 4 * ends.len() + 8 * indexes.len()
            }
            Self::Failure(_) => 0,
        }
    }
}
