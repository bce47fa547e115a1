//! Errors of encoding and decoding.

use std::fmt;

use crate::report::{MAX_TEXT, cut};

/// Why a value could not be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecError(Box<str>);

impl CodecError {
    pub(super) fn new(message: impl Into<Box<str>>) -> Self {
        Self(message.into())
    }

    /// The value has no key.
    #[cold]
    pub(crate) fn no_pair() -> Self {
        Self::new("it is not a pair of key and value")
    }

    /// The error of values that are not of the type that they are encoded or decoded as.
    #[cold]
    pub(crate) fn another_type() -> Self {
        Self::new("the values are of another type")
    }

    #[cold]
    pub(super) fn unencodable(error: postcard::Error) -> Self {
        use postcard::Error;
        Self::new(match error {
            Error::SerializeSeqLengthUnknown => {
                "a sequence or map has no length in advance, as with `serde(flatten)`: remove the \
                 attribute, or wrap the type in `phalanx::Json`, which sends it as JSON text"
            }
            Error::CollectStrError => "the `Display` of a value failed",
            _ => return Self::new(error.to_string()),
        })
    }

    #[cold]
    pub(super) fn undecodable(error: postcard::Error) -> Self {
        use postcard::Error;
        Self::new(match error {
            Error::DeserializeUnexpectedEnd => "the bytes end early",
            Error::DeserializeBadVarint => "integer out of range",
            Error::DeserializeBadBool => "invalid `bool`",
            Error::DeserializeBadChar => "invalid `char`",
            Error::DeserializeBadUtf8 => "a string is not valid UTF-8",
            Error::DeserializeBadOption => "invalid `Option`",
            Error::SerdeDeCustom => "the type rejects the value",
            Error::WontImplement => {
                "the type needs a format that describes itself: wrap it in `phalanx::Json`, which sends \
                 it as JSON text"
            }
            _ => return Self::new(error.to_string()),
        })
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CodecError {}

impl serde::ser::Error for CodecError {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(cut(message.to_string(), MAX_TEXT))
    }
}
