//! Outputs on their way through the queue of a task.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{WireError, envelope};
use crate::id::{ExecutionId, JobId, TaskNumber};

/// A worker publishes no block before all are confirmed that precede it by this many.
pub const MAX_BLOCKS_AHEAD: u32 = 16;

/// Some outputs of a task, on their way through the task's queue to the leader (rule 39).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputMessage {
    /// Everything but the outputs.
    pub header: OutputHeader,
    /// The encodings of the outputs, one after the other.
    pub values: Bytes,
}

/// Everything in an [`OutputMessage`] but the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputHeader {
    /// The job.
    pub job: JobId,
    /// The task.
    pub task: TaskNumber,
    /// The run of the task that has made the outputs.
    pub execution: ExecutionId,
    /// The number of the block in its execution, from 0.
    pub number: u32,
    /// The number of the outputs.
    pub outputs: u32,
}

impl OutputMessage {
    /// Encodes the message.
    ///
    /// # Errors
    /// If it is larger than the largest message.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        envelope::write(&self.header, &self.values)
    }

    /// Decodes a message.
    ///
    /// # Errors
    /// If the bytes do not begin with a header of outputs, or are of another wire version.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let (header, values) = envelope::read(bytes)?;
        Ok(Self { header, values })
    }
}
