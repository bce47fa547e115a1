//! What is found in a queue of dead letters.

use std::fmt;

use bytes::Bytes;
use uuid::Builder;
use xxhash_rust::xxh3::Xxh3Default;

use super::DeadLetterError;
use crate::{
    broker::{Message, MessageKind},
    id::DeadLetterId,
    wire::{DeadLetter, DeadLetterHeader, WireError},
};

/// A message in a queue of dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadLetterEntry {
    /// An element that failed for good.
    Letter(Box<DeadLetterHeader>),
    /// Something else: a task that no worker could read, say, or a letter of another version.
    Unreadable(Box<UnreadableDeadLetter>),
}

/// A message that is no dead letter of this version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreadableDeadLetter {
    /// Made of what is in it: messages that are alike have the same.
    pub id: DeadLetterId,
    /// What it says that it is.
    pub kind: Option<MessageKind>,
    /// Why it is no letter.
    pub reason: String,
    /// The size of its body in bytes.
    pub size: u64,
    /// What it says for people.
    pub headers: Vec<(String, String)>,
}

/// A message in a queue of dead letters, with what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterContent {
    /// What it says.
    pub entry: DeadLetterEntry,
    /// The encoded element; the whole body of what is unreadable.
    pub payload: Bytes,
}

impl DeadLetterEntry {
    pub(super) fn read(message: &Message) -> Self {
        let kind = message.properties.kind;
        let decoded = match kind {
            Some(MessageKind::DeadLetter) => DeadLetter::decode(&message.body),
            Some(other) => Err(not_a_letter(&format!("it is a {} message", other.name()))),
            None => Err(not_a_letter("it is none of Phalanx")),
        };
        match decoded {
            Ok(letter) => Self::Letter(Box::new(letter.header)),
            Err(error) => Self::Unreadable(Box::new(UnreadableDeadLetter {
                id: fingerprint(message),
                kind,
                reason: error.to_string(),
                size: message.body.len() as u64,
                headers: message.properties.headers.clone(),
            })),
        }
    }

    /// Its identity.
    pub fn id(&self) -> DeadLetterId {
        match self {
            Self::Letter(header) => header.id,
            Self::Unreadable(unreadable) => unreadable.id,
        }
    }

    /// The letter in this body, if there is an element in it.
    pub(super) fn into_letter(self, body: Bytes) -> Result<DeadLetter, DeadLetterError> {
        let id = self.id();
        if let Self::Unreadable(unreadable) = self {
            return Err(DeadLetterError::Unreadable { id, reason: unreadable.reason });
        }
        match DeadLetter::decode(&body) {
            Ok(letter) if letter.header.left_out => {
                Err(DeadLetterError::LeftOut { id, size: letter.header.size() })
            }
            Ok(letter) => Ok(letter),
            Err(error) => Err(DeadLetterError::Unreadable { id, reason: error.to_string() }),
        }
    }
}

impl DeadLetterContent {
    pub(super) fn new(entry: DeadLetterEntry, body: Bytes) -> Self {
        let payload = match &entry {
            DeadLetterEntry::Unreadable(_) => body,
            DeadLetterEntry::Letter(_) => {
                DeadLetter::decode(&body).map(|letter| letter.payload).unwrap_or_default()
            }
        };
        Self { entry, payload }
    }
}

impl fmt::Display for DeadLetterEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Letter(header) => write!(
                f,
                "{}: operation `{}` failed at element {} of job {}: {}",
                header.id,
                header.error.operation,
                header.error.index,
                header.error.job,
                header.error.error
            ),
            Self::Unreadable(letter) => {
                write!(f, "{}: {} bytes: {}", letter.id, letter.size, letter.reason)
            }
        }
    }
}

fn not_a_letter(reason: &str) -> WireError {
    WireError::Malformed { reason: reason.to_owned() }
}

/// An identity for what says none of its own.
fn fingerprint(message: &Message) -> DeadLetterId {
    let mut hash = Xxh3Default::new();
    for (name, value) in &message.properties.headers {
        hash.update(name.as_bytes());
        hash.update(value.as_bytes());
    }
    let copy = message.properties.copy.map(|copy| copy.to_string()).unwrap_or_default();
    hash.update(copy.as_bytes());
    hash.update(&message.body);
    DeadLetterId(Builder::from_custom_bytes(hash.digest128().to_be_bytes()).into_uuid())
}
