//! What all messages share: a version byte, a flag byte, a postcard header, opaque bytes.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::codec;

/// The version of the wire format, the first byte of every message.
pub const WIRE_VERSION: u8 = 1;

/// No message larger than this is decoded: twice the largest default limit of a RabbitMQ.
pub const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// How the payload is compressed; the second byte of every message.
const UNCOMPRESSED: u8 = 0;

/// Why a message does not decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Written by another version of Phalanx.
    #[error("wire version {found} where this side speaks {WIRE_VERSION}")]
    Version {
        /// The version byte found.
        found: u8,
    },
    /// Compressed in a way that this side does not know.
    #[error("unknown compression {found}")]
    Compression {
        /// The flag byte found.
        found: u8,
    },
    /// Larger than any message that Phalanx writes.
    #[error("a message of {size} bytes is larger than {MAX_MESSAGE_BYTES}")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// Cut off, or not a message at all.
    #[error("not a message: {reason}")]
    Malformed {
        /// What the decoder said.
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

/// Reads a message; what stands behind the header is the payload.
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
        (_, rest) => Err(WireError::Malformed { reason: format!("{} bytes too many", rest.len()) }),
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
