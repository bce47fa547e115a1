//! Postcard behind our own names: strict where plain postcard would corrupt or ignore.

mod error;
mod serializer;

use serde::{Serialize, de::DeserializeOwned};

pub use error::CodecError;
use serializer::Guard;

/// Encodes a value by itself.
///
/// # Errors
/// As [`encode_into`].
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes)?;
    Ok(bytes)
}

/// Appends the encoding of a value; on error `out` is as it was.
///
/// # Errors
/// When the type's own `Serialize` fails, or skips a field, or does not know the length of a
/// sequence beforehand.
#[inline]
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let before = out.len();
    let done = value.serialize(&mut Guard::appending(out));
    if done.is_err() {
        out.truncate(before);
    }
    done
}

/// Decodes a value that fills `bytes` exactly.
///
/// # Errors
/// When the bytes are none of this type, or go on behind it.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let mut rest = bytes;
    let value = decode_front(&mut rest)?;
    match rest.len() {
        0 => Ok(value),
        more => Err(CodecError::new(format!("{more} bytes too many"))),
    }
}

/// Decodes a value at the front of `bytes` and moves behind it; on error `bytes` stays.
///
/// # Errors
/// When the bytes are none of this type.
#[inline]
pub fn decode_front<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, CodecError> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(CodecError::undecodable)?;
    *bytes = rest;
    Ok(value)
}

#[cfg(test)]
mod tests;
