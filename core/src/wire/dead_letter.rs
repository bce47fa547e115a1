//! Dead letters: elements that failed permanently.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{WireError, envelope};
use crate::{
    broker::Pool,
    id::{DeadLetterId, LeaderId},
    operation::ExecuteError,
    registry::StepReference,
};

/// An element that failed permanently, with everything that is needed to understand the failure and
/// to replay the element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Everything but the element.
    pub header: DeadLetterHeader,
    /// The encoded element; or the neighbouring partial results of a fold that could not be
    /// combined, one after the other. Empty if it was too large to be kept.
    pub payload: Bytes,
}

/// Everything in a dead letter but the element.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterHeader {
    /// The id of the dead letter.
    pub id: DeadLetterId,
    /// When the dead letter was written, in milliseconds since 1970, by the clock of the leader.
    pub written_ms: u64,
    /// The leader that wrote it.
    pub leader: LeaderId,
    /// The pool whose workers ran the element.
    pub pool: Pool,
    /// The failure: the element, its tries, and the error.
    pub error: ExecuteError,
    /// The steps of its stage that remain to be run on the element, in order.
    pub steps: Vec<StepReference>,
    /// The length of the encoded element in bytes; or of each partial result of a fold.
    pub lengths: Vec<u32>,
    /// Whether the element was too large to be kept (more than 1 MiB, or than the broker accepts).
    pub left_out: bool,
}

impl DeadLetterHeader {
    /// The encoded size of the element in bytes, whether it was kept or not.
    pub fn size(&self) -> u64 {
        self.lengths.iter().map(|length| u64::from(*length)).sum()
    }
}

impl DeadLetter {
    /// Encodes the message.
    ///
    /// # Errors
    /// Never for dead letters made by a leader.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        envelope::write(&self.header, &self.payload)
    }

    /// Decodes the message.
    ///
    /// # Errors
    /// If the bytes are not a dead letter, of another wire version, or contradict themselves.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let (header, payload) = envelope::read::<DeadLetterHeader>(bytes)?;
        let expected = if header.left_out { 0 } else { header.size() };
        if payload.len() as u64 != expected {
            let reason = "payload and lengths differ".to_owned();
            return Err(WireError::Malformed { reason });
        }
        Ok(Self { header, payload })
    }

    /// The encoded elements one by one.
    pub fn elements(&self) -> impl Iterator<Item = Bytes> {
        let mut from = 0;
        self.header.lengths.iter().map(move |length| {
            // Empty if the payload was left out.
            let to = (from + *length as usize).min(self.payload.len());
            let element = self.payload.slice(from..to);
            from = to;
            element
        })
    }

    /// The same dead letter without the element.
    #[must_use]
    pub fn without_payload(mut self) -> Self {
        self.header.left_out = true;
        self.payload = Bytes::new();
        self
    }
}
