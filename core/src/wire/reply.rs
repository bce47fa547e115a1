//! Replies: the messages about a task that a worker publishes before it settles the delivery.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    BlockHeader, GatheredElement, ListEnd, RowTotal, SpreadBlocks, WireError, envelope,
    envelope::headed_only,
};
use crate::{
    id::{CopyId, ExecutionId, LeaderId, WorkerId},
    operation::{KeyPrefix, OperationError},
    registry::Refusal,
};

/// The outcome of a batch that was run, wholly or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultMessage {
    /// Everything but the outputs.
    pub header: ResultHeader,
    /// The outputs of the `Done` segments, one after the other, unless they went through the queue
    /// of the task; then the blocks.
    pub payload: Bytes,
}

/// Everything in a [`ResultMessage`] but the outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultHeader {
    /// The leader of the task.
    pub leader: LeaderId,
    /// The copy of the task that was run.
    pub copy: CopyId,
    /// The run itself: a copy that is delivered twice may run twice.
    pub execution: ExecutionId,
    /// The worker that ran it.
    pub worker: WorkerId,
    /// Time spent on the elements that are `Done` or `Failed`, in microseconds.
    pub busy_us: u64,
    /// Time between delivery and start, in microseconds.
    pub waited_us: u64,
    /// The parts of the batch: gap-free, in order, without overlap.
    pub segments: Vec<Segment>,
    /// The number of the messages with outputs that were published to the queue of the task before
    /// this result; 0 if the payload has the outputs.
    pub output_blocks: u32,
    /// The blocks behind the outputs, if the outputs go to an exchange.
    pub blocks: Vec<BlockHeader>,
    /// The blocks that were published before this result, if the exchange is spread.
    pub spread: Vec<SpreadBlocks>,
    /// What the blocks were made from, before rows with equal keys were combined.
    pub uncombined: RowTotal,
    /// The partitions that were read to the ends of their lists.
    pub lists: Vec<ListEnd>,
    /// The bytes of blocks that were gathered on disk, because they need more memory than the
    /// worker has for them.
    pub spilled: u64,
}

/// A gap-free part of a batch with one outcome: the offsets `from..to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The first offset.
    pub from: u32,
    /// One past the last offset.
    pub to: u32,
    /// The outcome of its elements.
    pub outcome: Outcome,
}

/// The outcome of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Outcome {
    /// The elements went through all steps.
    Done {
        /// Bytes of the outputs of this segment.
        bytes: u64,
        /// Number of outputs.
        outputs: u32,
        /// Outputs of each element; `None` if each has exactly one, and for folds.
        counts: Option<Vec<u32>>,
        /// Encoded length of each output in bytes, if the task asked for it.
        lengths: Option<Vec<u32>>,
    },
    /// One element failed (`to` is `from + 1`).
    Failed {
        /// The step in which it failed, from 0.
        step: u32,
        /// The error of the operation.
        error: OperationError,
        /// The element, if it was gathered from queues.
        element: Option<Box<GatheredElement>>,
    },
    /// The elements were not run, or their run does not count; no element is at fault.
    NotRun {
        /// Why.
        reason: NotRunReason,
    },
}

/// Why elements were not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NotRunReason {
    /// The time slice of the task had passed.
    TimeSlice,
    /// The outputs had reached the output cap of the task.
    OutputCap,
    /// The worker is draining.
    Draining,
    /// The job was cancelled.
    Cancelled,
    /// The elements were folded together with one that failed; they must be folded again without
    /// it.
    FoldBroken,
}

/// A delivery that was not run. A worker builds it from the properties of the message alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Return {
    /// The copy that is returned; `None` for a [`Probe`](super::Probe).
    pub copy: Option<CopyId>,
    /// The worker that returns it.
    pub worker: WorkerId,
    /// Why it was not run.
    pub reason: ReturnReason,
    /// The offset of the element at fault, if there is one.
    pub offset: Option<u32>,
    /// This element, if it was gathered from queues.
    pub element: Option<Box<GatheredElement>>,
}

/// Why a delivery was not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReturnReason {
    /// The broker had delivered it before; it may have killed the worker that had it (rule 6).
    Redelivered,
    /// It waited at the worker for as long as a delivery may be held (rule 8).
    NotStarted,
    /// The worker is draining.
    Draining,
    /// The worker has received no `Alive` of the leader for
    /// [`LEADER_TIMEOUT`](super::timing::LEADER_TIMEOUT), or none at all for
    /// [`FIRST_ALIVE_TIMEOUT`](super::timing::FIRST_ALIVE_TIMEOUT).
    LeaderTimeout,
    /// The worker is built differently (rule 10).
    Refused(Refusal),
    /// The child process that ran it died.
    Crashed {
        /// How the process ended, in words.
        status: String,
    },
    /// Blocks are missing in the queue of a partition, although nothing more comes (rule 36).
    BlocksMissing {
        /// The partition.
        partition: u32,
        /// The number of blocks that were announced.
        announced: u32,
        /// The number of those that were found.
        found: u32,
    },
    /// The broker takes deliveries of blocks back before all of a partition has arrived (rule 34).
    AckTimeout {
        /// The partition.
        partition: u32,
        /// The bytes that had arrived.
        bytes: u64,
        /// The time that they took, in milliseconds.
        elapsed_ms: u64,
        /// The message of the broker.
        reason: String,
    },
    /// Rows that must be in memory together are larger than the worker has memory for them (rule
    /// 38).
    PartTooLarge {
        /// The partition.
        partition: u32,
        /// The size of the rows in bytes.
        bytes: u64,
        /// The most bytes of rows that the worker has in memory.
        limit: u64,
        /// The key with the most bytes among them.
        key: KeyPrefix,
        /// The bytes of the rows of this key.
        key_bytes: u64,
    },
    /// The reply, or a block, is larger than the broker accepts.
    TooLarge {
        /// The size of the message in bytes.
        size: u64,
        /// The broker's limit in bytes.
        limit: u64,
    },
}

/// The tasks of one leader that run on a worker although their deliveries are acked (rule 8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The worker.
    pub worker: WorkerId,
    /// Increases with each lease of this worker.
    pub heartbeat: u64,
    /// The tasks that it runs.
    pub tasks: Vec<LeasedTask>,
}

/// One task of a [`Lease`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedTask {
    /// The copy that runs.
    pub copy: CopyId,
    /// The offset of the element that is being run.
    pub offset: u32,
    /// Whether the worker runs an isolated task in its own process, because it cannot start a
    /// child: then it names each element before it begins, so if it dies, this element is to blame.
    pub in_process: bool,
}

impl ResultMessage {
    /// Encodes the message.
    ///
    /// # Errors
    /// Never for headers made by a worker.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        envelope::write(&self.header, &self.payload)
    }

    /// Decodes a message. Checks its segments against each other and against the payload, not
    /// against the task.
    ///
    /// # Errors
    /// If the bytes are not a result, of another wire version, or contradict themselves.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let (header, payload) = envelope::read::<ResultHeader>(bytes)?;
        let blocks = header.blocks.iter().map(|block| u64::from(block.bytes)).sum();
        let outputs = (payload.len() as u64).checked_sub(blocks);
        outputs
            .ok_or("the blocks are longer than the payload")
            .and_then(|outputs| match header.output_blocks {
                0 => check_segments(&header.segments, Some(outputs)),
                _ if payload.is_empty() => check_segments(&header.segments, None),
                _ => Err("outputs in a queue and in the payload"),
            })
            .map_err(|reason| WireError::Malformed { reason: reason.to_owned() })?;
        Ok(Self { header, payload })
    }
}

/// `payload` is the length of the outputs, if it is known.
fn check_segments(segments: &[Segment], payload: Option<u64>) -> Result<(), &'static str> {
    let (mut offset, mut spent) = (0, 0u64);
    for segment in segments {
        if segment.from != offset || segment.to <= segment.from {
            return Err("segments do not tile the batch");
        }
        offset = segment.to;
        let elements = segment.to - segment.from;
        match &segment.outcome {
            Outcome::Done { bytes, outputs, counts, lengths } => {
                spent = spent.checked_add(*bytes).ok_or("impossible length")?;
                let sum = |list: &[u32]| list.iter().map(|n| u64::from(*n)).sum::<u64>();
                if counts.as_ref().is_some_and(|counts| {
                    counts.len() != elements as usize || sum(counts) != u64::from(*outputs)
                }) {
                    return Err("counts do not fit their segment");
                }
                if lengths.as_ref().is_some_and(|lengths| {
                    lengths.len() != *outputs as usize || sum(lengths) != *bytes
                }) {
                    return Err("lengths do not fit their segment");
                }
            }
            Outcome::Failed { .. } if elements != 1 => return Err("a failure of several elements"),
            Outcome::Failed { .. } | Outcome::NotRun { .. } => {}
        }
    }
    match payload {
        Some(payload) if payload != spent => Err("payload and segments differ in length"),
        _ => Ok(()),
    }
}

headed_only!(Return, Lease);
