//! That a value could not be made up.

use std::fmt;

use serde::de;

/// A value could not be made up. Why does not matter: another one is tried.
#[derive(Debug)]
pub(super) struct TraceError;

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
