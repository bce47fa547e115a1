//! What a worker sends to the leader before it acks.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{WireError, envelope};
use crate::{
    broker::Pool,
    id::{ExecutionId, LeaderId, TaskNumber, WorkerId},
    operation::OperationError,
    registry::Refusal,
};

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultMessage {
    /// Everything but the outputs.
    pub header: ResultHeader,
    /// The outputs of the `Done` segments, one behind the other.
    pub payload: Bytes,
}

/// What a result says of its batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultHeader {
    /// Whom it answers.
    pub leader: LeaderId,
    /// Which task.
    pub task: TaskNumber,
    /// Which copy of it.
    pub attempt: u32,
    /// Which run.
    pub execution: ExecutionId,
    /// By whom.
    pub worker: WorkerId,
    /// Time spent on the elements that are `Done` or `Failed`, in microseconds.
    pub busy_us: u64,
    /// Time between delivery and start, in microseconds.
    pub waited_us: u64,
    /// Tile the batch: gap-free, in order, no overlap.
    pub segments: Vec<Segment>,
}

/// A gap-free part of a batch with one outcome: offsets `from..to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The first offset.
    pub from: u32,
    /// One past the last.
    pub to: u32,
    /// What became of them.
    pub outcome: Outcome,
}

/// What became of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Outcome {
    /// Run to the end.
    Done {
        /// Bytes of the payload that are its outputs.
        bytes: u64,
        /// How many outputs there are.
        outputs: u32,
        /// Outputs of each element; `None` where each has exactly one, and for folds.
        counts: Option<Vec<u32>>,
        /// The length of each output, where the task asked for it.
        lengths: Option<Vec<u32>>,
        /// Kept for counters.
        counters: Vec<(String, u64)>,
    },
    /// One element failed (`to` is `from + 1`).
    Failed {
        /// The step in which it failed, from 0.
        step: u32,
        /// Why.
        error: OperationError,
    },
    /// Not run, or run in vain; nobody's fault.
    NotRun {
        /// Why.
        why: NotRunReason,
    },
}

/// Why elements were not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NotRunReason {
    /// The task's time slice was over.
    TimeSlice,
    /// The answer was full.
    OutputCap,
    /// The worker stops.
    Draining,
    /// The job was cancelled.
    Cancelled,
    /// Folded together with an element that failed: to be folded again without it.
    FoldBroken,
}

/// A task that was not run, and why. Built from the properties of the message alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Return {
    /// Which task.
    pub task: TaskNumber,
    /// Which copy of it.
    pub attempt: u32,
    /// By whom.
    pub worker: WorkerId,
    /// Why.
    pub why: ReturnReason,
    /// The offset of the element at fault, where there is one.
    pub position: Option<u32>,
}

/// Why a task was not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReturnReason {
    /// It had been handed out before; its worker may have died of it.
    Redelivered,
    /// It waited too long behind others.
    NotStarted,
    /// The worker stops.
    Draining,
    /// The leader has not been heard of.
    LeaderSilent,
    /// The worker is built differently.
    Refused(Refusal),
    /// The child process that ran it died.
    Crashed {
        /// How, in words.
        status: String,
    },
    /// The answer is larger than the broker takes.
    TooLarge {
        /// The size of the answer, in bytes.
        size: u64,
        /// The broker's limit, in bytes.
        limit: u64,
    },
}

/// Tasks that run on a worker and are no longer the broker's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// By whom.
    pub worker: WorkerId,
    /// Counts up.
    pub beat: u64,
    /// What it holds.
    pub held: Vec<Held>,
}

/// One task of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which task.
    pub task: TaskNumber,
    /// Which copy of it.
    pub attempt: u32,
    /// The offset that it is at.
    pub position: u32,
}

/// The answer to a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReply {
    /// The pool whose queue was probed.
    pub pool: Pool,
    /// From the probe.
    pub nonce: u64,
}

impl ResultMessage {
    /// Its bytes on the wire.
    ///
    /// # Errors
    /// Never for headers made by a worker.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        envelope::write(&self.header, &self.payload)
    }

    /// The message in these bytes; its segments have been checked against each other and against
    /// the payload, not against the task.
    ///
    /// # Errors
    /// When they are none, of another version, or contradict themselves.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let (header, payload) = envelope::read::<ResultHeader>(bytes)?;
        check_segments(&header.segments, payload.len() as u64)
            .map_err(|reason| WireError::Malformed { reason: reason.to_owned() })?;
        Ok(Self { header, payload })
    }
}

fn check_segments(segments: &[Segment], payload: u64) -> Result<(), &'static str> {
    let (mut at, mut spent) = (0, 0u64);
    for segment in segments {
        if segment.from != at || segment.to <= segment.from {
            return Err("segments do not tile the batch");
        }
        at = segment.to;
        let elements = segment.to - segment.from;
        match &segment.outcome {
            Outcome::Done { bytes, outputs, counts, lengths, .. } => {
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
    if spent == payload { Ok(()) } else { Err("payload and segments differ in length") }
}

macro_rules! headed_only {
    ($($message:ident),*) => {$(
        impl $message {
            /// Its bytes on the wire.
            ///
            /// # Errors
            /// Never for messages made by this library.
            pub fn encode(&self) -> Result<Bytes, WireError> {
                envelope::write(self, &[])
            }

            /// The message in these bytes.
            ///
            /// # Errors
            /// When they are none, or of another version.
            pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
                envelope::read_whole(bytes)
            }
        }
    )*};
}
pub(super) use headed_only;
headed_only!(Return, Lease, ProbeReply);
