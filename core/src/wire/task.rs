//! A batch of elements to run.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{WireError, envelope};
use crate::{
    broker::Pool,
    id::{JobId, LeaderId, TaskNumber},
    operation::ElementRange,
    registry::StepReference,
};

/// One published copy of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskMessage {
    /// Everything but the elements.
    pub header: TaskHeader,
    /// The encodings of the elements, one behind the other.
    pub payload: Bytes,
}

/// What a task says of its elements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskHeader {
    /// Whom to answer.
    pub leader: LeaderId,
    /// The job.
    pub job: JobId,
    /// The stage of its plan.
    pub stage: u32,
    /// The number of the task.
    pub task: TaskNumber,
    /// Which copy of it this is, from 1.
    pub attempt: u32,
    /// What to do.
    pub kind: TaskKind,
    /// Whether to run it in a process of its own.
    pub contained: bool,
    /// The elements, in batch order.
    pub ranges: Vec<ElementRange>,
    /// What to run on them, in order.
    pub steps: Vec<StepReference>,
    /// Past this the worker stops at the next chunk and answers with what is done.
    pub time_slice: Duration,
    /// Past this many bytes of output the worker stops likewise.
    pub output_cap: u64,
    /// Whether the answer must say how long each output is: its outputs go into further tasks.
    pub measured: bool,
}

/// What to do with a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskKind {
    /// Run the elements through the steps.
    Run,
    /// The elements are neighbouring partial results of a fold: combine them.
    Combine,
    /// Answer at once, nothing else.
    Probe {
        /// The pool whose queue is probed.
        pool: Pool,
        /// To be repeated in the answer.
        nonce: u64,
    },
}

impl TaskHeader {
    /// A probe: no task and no job of any leader, with nothing to run.
    pub(crate) fn probe(leader: LeaderId, pool: Pool, nonce: u64) -> Self {
        Self {
            leader,
            job: JobId(uuid::Uuid::nil()),
            stage: 0,
            task: TaskNumber(0),
            attempt: 0,
            kind: TaskKind::Probe { pool, nonce },
            contained: false,
            ranges: Vec::new(),
            steps: Vec::new(),
            time_slice: Duration::ZERO,
            output_cap: 0,
            measured: false,
        }
    }

    /// How many elements the batch has, if its ranges are sane and fit into 32 bits.
    pub fn count(&self) -> Option<u32> {
        let mut count = 0u64;
        for range in &self.ranges {
            count = count.checked_add(range.to.checked_sub(range.from)?)?;
        }
        u32::try_from(count).ok()
    }
}

impl TaskMessage {
    /// Its bytes on the wire.
    ///
    /// # Errors
    /// Never for headers made by a leader.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        envelope::write(&self.header, &self.payload)
    }

    /// The message in these bytes.
    ///
    /// # Errors
    /// When they are none, or of another version.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let (header, payload) = envelope::read::<TaskHeader>(bytes)?;
        if header.count().is_none() {
            return Err(WireError::Malformed { reason: "impossible ranges".to_owned() });
        }
        Ok(Self { header, payload })
    }
}
