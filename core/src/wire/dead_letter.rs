//! Dead letters: elements that failed permanently.

use std::fmt;

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
    /// combined, or the pairs of a key whose values could not be combined, one after the other.
    /// Empty if it was not kept.
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
    /// The length of the encoded element in bytes; or of each partial result or pair. Their sum if
    /// they were not kept.
    pub lengths: Vec<u32>,
    /// Why the element was not kept; `None` if it was.
    pub left_out: Option<LeftOut>,
}

/// Why a dead letter has no element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LeftOut {
    /// It has more than 1 MiB, or than the broker accepts.
    TooLarge,
    /// An exchange made it, and its leader cannot gather its partition: that has more than 64 MiB,
    /// or blocks that no worker can read.
    NotGathered,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "too large to be kept",
            Self::NotGathered => "in a partition that its leader could not gather",
        })
    }
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
        let expected = if header.left_out.is_some() { 0 } else { header.size() };
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

    /// The same dead letter without the element, which is too large.
    #[must_use]
    pub fn without_payload(mut self) -> Self {
        self.header.left_out = Some(LeftOut::TooLarge);
        // There can be so many that they are too large, too.
        self.header.lengths = vec![u32::try_from(self.header.size()).unwrap_or(u32::MAX)];
        self.payload = Bytes::new();
        self
    }
}
