//! The complete text of an error.

use std::error::Error;

/// The text of an error and of all its sources, as `Display` and as `Debug`: a test that checks for
/// secrets must search all of it.
pub fn full_text(error: &(dyn Error + 'static)) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(" {error} {error:?}");
        source = error.source();
    }
    text
}
