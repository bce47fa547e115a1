//! The format of all messages: a version byte, a compression byte, a postcard header, and a
//! payload.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::codec;

/// The version of the wire format, the first byte of every message.
pub const WIRE_VERSION: u8 = 1;

/// The largest message that is decoded, in bytes: twice the largest default limit of RabbitMQ.
pub const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// The second byte of every message: the payload is not compressed.
const UNCOMPRESSED: u8 = 0;

/// Why a message does not decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The message has another wire version.
    #[error("unsupported wire version {found}; this side supports version {WIRE_VERSION}")]
    Version {
        /// The version byte of the message.
        found: u8,
    },
    /// The message has an unknown compression.
    #[error("unknown compression {found}")]
    Compression {
        /// The compression byte of the message.
        found: u8,
    },
    /// The message is larger than [`MAX_MESSAGE_BYTES`].
    #[error("the message of {size} bytes exceeds the limit of {MAX_MESSAGE_BYTES} bytes")]
    TooLarge {
        /// The size of the message in bytes.
        size: usize,
    },
    /// The message is cut off, or not a message of Phalanx.
    #[error("malformed message: {reason}")]
    Malformed {
        /// The message of the decoder.
        reason: String,
    },
}

/// Writes a message: header and payload.
pub(super) fn write<H: Serialize>(header: &H, payload: &[u8]) -> Result<Bytes, WireError> {
    let mut out = Vec::with_capacity(2 + 256 + payload.len());
    out.extend([WIRE_VERSION, UNCOMPRESSED]);
    codec::encode_into(header, &mut out)
        .map_err(|error| WireError::Malformed { reason: error.to_string() })?;
    out.extend_from_slice(payload);
    if out.len() > MAX_MESSAGE_BYTES {
        return Err(WireError::TooLarge { size: out.len() });
    }
    Ok(out.into())
}

/// Reads a message; the bytes after the header are the payload.
pub(super) fn read<H: DeserializeOwned>(message: &Bytes) -> Result<(H, Bytes), WireError> {
    if message.len() > MAX_MESSAGE_BYTES {
        return Err(WireError::TooLarge { size: message.len() });
    }
    match message.get(..2) {
        Some([WIRE_VERSION, UNCOMPRESSED]) => {}
        Some([WIRE_VERSION, found]) => return Err(WireError::Compression { found: *found }),
        Some([found, _]) => return Err(WireError::Version { found: *found }),
        _ => return Err(WireError::Malformed { reason: "shorter than 2 bytes".to_owned() }),
    }
    let mut rest = &message[2..];
    let header = codec::decode_front(&mut rest)
        .map_err(|error| WireError::Malformed { reason: error.to_string() })?;
    Ok((header, message.slice(message.len() - rest.len()..)))
}

/// Reads a message that has no payload.
pub(super) fn read_whole<H: DeserializeOwned>(message: &Bytes) -> Result<H, WireError> {
    match read(message)? {
        (header, rest) if rest.is_empty() => Ok(header),
        (_, rest) => {
            Err(WireError::Malformed { reason: format!("{} bytes are left over", rest.len()) })
        }
    }
}

/// Implements `encode` and `decode` for messages that are a header without a payload.
macro_rules! headed_only {
    ($($message:ident),*) => {$(
        impl $message {
            /// Encodes the message.
            ///
            /// # Errors
            /// Never for messages made by this library.
            pub fn encode(&self) -> Result<bytes::Bytes, $crate::wire::WireError> {
                crate::wire::envelope::write(self, &[])
            }

            /// Decodes a message.
            ///
            /// # Errors
            /// If the bytes are not such a message, or of another wire version.
            pub fn decode(bytes: &bytes::Bytes) -> Result<Self, $crate::wire::WireError> {
                crate::wire::envelope::read_whole(bytes)
            }
        }
    )*};
}
pub(super) use headed_only;
