//! A batch of elements to run.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    AnnouncedBlocks, ListEnd, MAX_PARTITIONS, MAX_PARTS, PartitionBlocks, TaskInlet, TaskOutlet,
    WireError, envelope, list_position, place_in_list,
};
use crate::{
    id::{CopyId, JobId, LeaderId},
    operation::ElementRange,
    registry::StepReference,
};

/// One published copy of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskMessage {
    /// Everything but the elements.
    pub header: TaskHeader,
    /// The encodings of the elements, one after the other.
    pub payload: Bytes,
}

/// Everything in a [`TaskMessage`] but its elements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskHeader {
    /// The leader that waits for the reply.
    pub leader: LeaderId,
    /// The job.
    pub job: JobId,
    /// The stage of the plan, from 0.
    pub stage: u32,
    /// The task, and which copy of it this is.
    pub copy: CopyId,
    /// The work to do on the elements.
    pub kind: TaskKind,
    /// Whether the task runs in a child process (rule 7).
    pub isolated: bool,
    /// The positions of the elements and their tries, in batch order; those in partitions ascend.
    /// In a partition, the end of the positions stands for the end of its list (rule 33).
    pub ranges: Vec<ElementRange>,
    /// The source index of each element, in batch order; empty if each index equals the position,
    /// as in the first stage.
    pub indexes: Vec<u64>,
    /// The steps to run, in order.
    pub steps: Vec<StepReference>,
    /// After this time the worker stops at the next chunk and replies with the elements that are
    /// done.
    pub time_slice: Duration,
    /// After this many bytes of output the worker stops in the same way.
    pub output_cap: u64,
    /// Where the elements come from.
    pub inlet: TaskInlet,
    /// Where the outputs go.
    pub outlet: TaskOutlet,
}

/// The kinds of work on the elements of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskKind {
    /// Runs the elements through the steps.
    Run,
    /// Combines the elements, which are neighbouring partial results of a fold.
    Combine,
}

impl TaskHeader {
    /// The number of elements of the batch; 0 if they come from partitions, as only who reads these
    /// finds out. `None` if the ranges run backwards or the number does not fit into 32 bits.
    pub fn count(&self) -> Option<u32> {
        if self.inlet.reads_partitions() {
            return Some(0);
        }
        let mut count = 0u64;
        for range in &self.ranges {
            count = count.checked_add(range.to.checked_sub(range.from)?)?;
        }
        u32::try_from(count).ok()
    }

    /// The position of the element at this batch offset. `lists` has the lengths of the lists that
    /// were read to their ends. `None` if there is no such element.
    pub fn position(&self, offset: u32, lists: &[ListEnd]) -> Option<u64> {
        let mut left = u64::from(offset);
        for range in &self.ranges {
            let (partition, _) = place_in_list(range.from);
            let list = lists.iter().find(|list| list.partition == partition);
            let end = match list.filter(|_| self.inlet.reads_partitions()) {
                Some(list) => range.to.min(list_position(partition, list.elements)),
                None => range.to,
            };
            let length = end.saturating_sub(range.from);
            if left < length {
                return Some(range.from + left);
            }
            left -= length;
        }
        None
    }

    fn check(&self, payload: usize) -> Result<(), &'static str> {
        let count = self.count().ok_or("impossible ranges")?;
        let listed = self.indexes.len();
        if listed != 0 && listed as u64 != u64::from(count) {
            return Err("indexes do not match the ranges");
        }
        let blocks = match &self.inlet {
            TaskInlet::Elements(_) => None,
            TaskInlet::Partitions(gather) => {
                Some(gather.partitions.iter().map(PartitionBlocks::size).sum())
            }
            TaskInlet::Queues(queued) => {
                let parts = |it: &AnnouncedBlocks| (1..=MAX_PARTS).contains(&it.parts);
                if !queued.partitions.iter().all(parts) {
                    return Err("impossible number of parts");
                }
                Some(0)
            }
        };
        if let Some(size) = blocks {
            if size != payload as u64 {
                return Err("payload and blocks differ in length");
            }
            let in_one_list = |range: &ElementRange| {
                let (partition, _) = place_in_list(range.from);
                partition < MAX_PARTITIONS
                    && (range.from..=list_position(partition, u64::MAX)).contains(&range.to)
            };
            let ascend = self.ranges.windows(2).all(|pair| pair[0].to <= pair[1].from);
            if !ascend || !self.ranges.iter().all(in_one_list) {
                return Err("impossible ranges of a partition");
            }
        }
        if let TaskOutlet::Exchange(scatter) = &self.outlet
            && !(1..=MAX_PARTITIONS).contains(&scatter.partitions)
        {
            return Err("impossible number of partitions");
        }
        Ok(())
    }
}

impl TaskMessage {
    /// Encodes the message.
    ///
    /// # Errors
    /// Never for headers made by a leader.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        envelope::write(&self.header, &self.payload)
    }

    /// Decodes a message.
    ///
    /// # Errors
    /// If the bytes are not a task, of another wire version, or contradict themselves.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let (header, payload) = envelope::read::<TaskHeader>(bytes)?;
        header
            .check(payload.len())
            .map_err(|reason| WireError::Malformed { reason: reason.to_owned() })?;
        Ok(Self { header, payload })
    }
}
