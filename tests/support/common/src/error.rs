//! Everything that an error shows.

use std::error::Error;

/// The text of an error and of all its sources, as `Display` and as `Debug`: a test that looks for
/// a secret must look through all of it.
pub fn full_text(error: &(dyn Error + 'static)) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(" {error} {error:?}");
        source = error.source();
    }
    text
}
