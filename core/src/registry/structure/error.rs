//! The error of a made-up value that a type rejects or does not write.

use std::fmt;

use serde::{de, ser};

/// A type rejected a made-up value. The reason does not matter: another value is tried.
#[derive(Debug)]
pub(in crate::registry) struct TraceError;

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no value")
    }
}

impl std::error::Error for TraceError {}

impl de::Error for TraceError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl ser::Error for TraceError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}
