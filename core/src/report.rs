//! Errors as text for people: with their causes, in one line or in a report.

use std::{
    error::Error,
    fmt::{self, Write},
};

/// An error and its causes, separated by colons. A cause is left out if the text before it already
/// ends with it.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in unquoted_causes(error) {
        let _ = write!(text, ": {cause}");
    }
    text
}

/// Writes an error as `main` prints it when it returns one: its message, then a list of the causes
/// that the message does not quote.
pub fn write_report(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    let causes = unquoted_causes(error);
    if !causes.is_empty() {
        f.write_str("\n\nCaused by:")?;
    }
    for cause in causes {
        write!(f, "\n    {}", cause.replace('\n', "\n    "))?;
    }
    Ok(())
}

/// The messages of the causes of an error, outermost first, without those that the message before
/// already ends with.
fn unquoted_causes(error: &dyn Error) -> Vec<String> {
    let mut last = error.to_string();
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !last.ends_with(&message) {
            last.clone_from(&message);
            causes.push(message);
        }
        cause = error.source();
    }
    causes
}

/// Implements `Debug` of an error as a report, because `main` and `unwrap` print `Debug`.
#[doc(hidden)]
#[macro_export]
macro_rules! __debug_as_report {
    ($($error:ty),+ $(,)?) => {$(
        impl ::std::fmt::Debug for $error {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                $crate::report::write_report(self, f)
            }
        }
    )+};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(thiserror::Error)]
    #[error("{message}")]
    struct Link {
        message: &'static str,
        source: Option<Box<Link>>,
    }

    crate::__debug_as_report!(Link);

    fn chain(messages: &[&'static str]) -> Link {
        let (message, causes) = messages.split_first().unwrap();
        let source = (!causes.is_empty()).then(|| Box::new(chain(causes)));
        Link { message, source }
    }

    #[test]
    fn a_report_is_the_message_and_the_causes_that_it_does_not_quote() {
        let error = chain(&["no invoice", "no page: timed out", "timed out", "two\nlines"]);
        let expected = "no invoice\n\nCaused by:\n    no page: timed out\n    two\n    lines";
        assert_eq!(format!("{error:?}"), expected);
        assert_eq!(format!("{:?}", chain(&["no invoice"])), "no invoice");
    }

    #[test]
    fn one_line_has_the_causes_after_colons() {
        let error = chain(&["no invoice", "no page: timed out", "timed out"]);
        assert_eq!(with_causes(&error), "no invoice: no page: timed out");
    }
}
