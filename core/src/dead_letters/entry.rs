//! The messages in a queue of dead letters.

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

/// A message in a queue of dead letters, without its element.
///
/// Displayed, it is one line: the id, the operation, the element and its error. From
/// [`DeadLetters::list`](super::DeadLetters::list).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadLetterEntry {
    /// A dead letter: an element that failed permanently.
    Element(Box<DeadLetterHeader>),
    /// Another message: for example a task that no worker could decode, or a dead letter of another
    /// version of Phalanx.
    Unreadable(Box<UnreadableDeadLetter>),
}

/// A message that is not a dead letter of this version of Phalanx.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreadableDeadLetter {
    /// A hash of the message: equal messages have equal ids.
    pub id: DeadLetterId,
    /// The kind of the message by its properties; `None` if it is not a message of Phalanx.
    pub kind: Option<MessageKind>,
    /// Why the message is not a readable dead letter.
    pub reason: String,
    /// The size of the body in bytes.
    pub size: u64,
    /// The headers of the message.
    pub headers: Vec<(String, String)>,
}

/// A message in a queue of dead letters, with its element. From
/// [`DeadLetters::show`](super::DeadLetters::show).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterContent {
    /// Everything but the element.
    pub entry: DeadLetterEntry,
    /// The encoded element; the whole body if the message is unreadable.
    pub payload: Bytes,
}

impl DeadLetterEntry {
    pub(super) fn read(message: &Message) -> Self {
        let kind = message.properties.kind;
        let decoded = match kind {
            Some(MessageKind::DeadLetter) => DeadLetter::decode(&message.body),
            Some(other) => Err(not_a_letter(&format!("it is a {} message", other.name()))),
            None => Err(not_a_letter("it is not a message of Phalanx")),
        };
        match decoded {
            Ok(letter) => Self::Element(Box::new(letter.header)),
            Err(error) => Self::Unreadable(Box::new(UnreadableDeadLetter {
                id: fingerprint(message),
                kind,
                reason: error.to_string(),
                size: message.body.len() as u64,
                headers: message.properties.headers.clone(),
            })),
        }
    }

    /// The id, for [`show`](super::DeadLetters::show), [`replay`](super::DeadLetters::replay) and
    /// [`delete`](super::DeadLetters::delete).
    pub fn id(&self) -> DeadLetterId {
        match self {
            Self::Element(header) => header.id,
            Self::Unreadable(unreadable) => unreadable.id,
        }
    }

    /// The dead letter in this body, if its element was kept.
    pub(super) fn into_letter(self, body: Bytes) -> Result<DeadLetter, DeadLetterError> {
        let id = self.id();
        if let Self::Unreadable(unreadable) = self {
            return Err(DeadLetterError::Unreadable { id, reason: unreadable.reason });
        }
        match DeadLetter::decode(&body) {
            Ok(letter) => match letter.header.left_out {
                Some(reason) => {
                    Err(DeadLetterError::LeftOut { id, size: letter.header.size(), reason })
                }
                None => Ok(letter),
            },
            Err(error) => Err(DeadLetterError::Unreadable { id, reason: error.to_string() }),
        }
    }
}

impl DeadLetterContent {
    pub(super) fn new(entry: DeadLetterEntry, body: Bytes) -> Self {
        let payload = match &entry {
            DeadLetterEntry::Unreadable(_) => body,
            DeadLetterEntry::Element(_) => {
                DeadLetter::decode(&body).map(|letter| letter.payload).unwrap_or_default()
            }
        };
        Self { entry, payload }
    }
}

impl fmt::Display for DeadLetterEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element(header) => write!(
                f,
                "{}: operation `{}` failed at {} of job {}: {}",
                header.id,
                header.error.operation,
                header.error.element(),
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

/// The id of a message that carries none: a hash of its content.
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
