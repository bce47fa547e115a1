//! Encodes and decodes values with postcard, and returns an error if plain postcard would corrupt a
//! value or ignore bytes.

mod appending;
mod checked;
mod encodings;
mod error;
mod guard;
mod layout;
mod serializer;
mod shape;

use serde::{Serialize, de::DeserializeOwned};

pub(crate) use checked::{append, append_as, looked_at};
pub use encodings::Encodings;
pub(crate) use encodings::place;
pub use error::CodecError;
use guard::Guard;
pub(crate) use layout::frame;
pub use layout::{Layout, push_frame, read_frame};
pub(crate) use shape::{Known, Shape, Shapes, Verify, WAY_OUT, compare};

/// Encodes a value into a new buffer.
///
/// # Errors
/// Those of [`encode_into`].
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes)?;
    Ok(bytes)
}

/// Appends the encoding of a value to `out`, which is unchanged on error.
///
/// # Errors
/// If the `Serialize` of the type fails, skips a field, or starts a sequence without its length.
#[inline]
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let before = out.len();
    let done = value.serialize(&mut Guard::appending(out));
    if done.is_err() {
        out.truncate(before);
    }
    done
}

/// Encodes a value of a user's type into a new buffer.
///
/// # Errors
/// Those of [`encode_into`], or if the value would be read as another one.
pub(crate) fn encode_checked<T>(value: &T) -> Result<Vec<u8>, CodecError>
where
    T: Serialize + DeserializeOwned + 'static,
{
    let mut bytes = Vec::new();
    append(value, &mut bytes, &mut Known::of::<T>())?;
    Ok(bytes)
}

/// Decodes a value from all of `bytes`.
///
/// # Errors
/// If the bytes do not decode to `T`, or bytes are left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let mut rest = bytes;
    let value = decode_front(&mut rest)?;
    match rest.len() {
        0 => Ok(value),
        more => Err(CodecError::new(format!("{more} bytes are left over"))),
    }
}

/// Decodes a value from the front of `bytes` and advances them past it. On error, `bytes` is
/// unchanged.
///
/// # Errors
/// If the bytes do not decode to `T`.
#[inline]
pub fn decode_front<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, CodecError> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(CodecError::undecodable)?;
    *bytes = rest;
    Ok(value)
}

#[cfg(test)]
mod tests;
