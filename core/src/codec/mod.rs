//! Postcard behind our own names: strict where plain postcard would corrupt or ignore.

use serde::{Serialize, de::DeserializeOwned};

/// Why a value could not be encoded or decoded.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct CodecError(String);

/// Encodes a value by itself.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    postcard::to_stdvec(value).map_err(|error| CodecError(error.to_string()))
}

/// Appends the encoding of a value; on error `out` is as it was.
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    out.extend(encode(value)?);
    Ok(())
}

/// Decodes a value that fills `bytes` exactly.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(CodecError(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(CodecError(error.to_string())),
    }
}

/// Decodes a value at the front of `bytes` and moves behind it.
pub fn decode_front<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, CodecError> {
    let (value, rest) =
        postcard::take_from_bytes(bytes).map_err(|error| CodecError(error.to_string()))?;
    *bytes = rest;
    Ok(value)
}
