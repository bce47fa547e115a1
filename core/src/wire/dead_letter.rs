//! An element that failed for good, kept for a person to look at.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{WireError, envelope};
use crate::{
    broker::Pool,
    id::{DeadLetterId, LeaderId},
    operation::ExecuteError,
    registry::StepReference,
};

/// An element that failed for good, with all that is needed to understand it and to run it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Everything but the element.
    pub header: DeadLetterHeader,
    /// The encoded element; the neighbouring partial results of a fold, one behind the other, where
    /// they could not be combined. Empty where it was left out.
    pub payload: Bytes,
}

/// What a dead letter says of its element.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterHeader {
    /// Its identity.
    pub id: DeadLetterId,
    /// When it was written, in milliseconds since 1970: for people.
    pub written_ms: u64,
    /// Who wrote it.
    pub leader: LeaderId,
    /// The pool whose workers ran the element.
    pub pool: Pool,
    /// The element, where and how often it was tried, and its error.
    pub error: ExecuteError,
    /// What was still to be run on the element in its stage, in order.
    pub steps: Vec<StepReference>,
    /// The length of the encoded element; of each partial result where they could not be combined.
    pub lengths: Vec<u32>,
    /// Whether the payload was too large to be kept.
    pub left_out: bool,
}

impl DeadLetterHeader {
    /// The encoded size of what failed, whether it was kept or not.
    pub fn size(&self) -> u64 {
        self.lengths.iter().map(|length| u64::from(*length)).sum()
    }
}

impl DeadLetter {
    /// Encodes the message.
    ///
    /// # Errors
    /// Never for letters written by a leader.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        envelope::write(&self.header, &self.payload)
    }

    /// The letter in these bytes.
    ///
    /// # Errors
    /// When they are none, of another version, or contradict themselves.
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
            // Nothing where the payload was left out.
            let to = (from + *length as usize).min(self.payload.len());
            let element = self.payload.slice(from..to);
            from = to;
            element
        })
    }

    /// The same letter without the element.
    #[must_use]
    pub fn without_payload(mut self) -> Self {
        self.header.left_out = true;
        self.payload = Bytes::new();
        self
    }
}
