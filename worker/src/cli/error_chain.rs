//! Errors with their causes, in one line.

use std::{error::Error, fmt::Write};

/// An error and its causes, separated by colons. A cause is left out if the text before it already
/// ends with it.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            let _ = write!(text, ": {message}");
        }
        cause = error.source();
    }
    text
}
