//! Errors as text for people: with their causes, in one line or in a report.

use std::{
    error::Error,
    fmt::{self, Write},
};

/// A text from outside, for a terminal or a log: control characters are escaped, except newlines
/// and tabs, and so are those that change the direction of text. Raw, they could forge or hide
/// lines, or take control of the terminal.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plain = 0;
        for (at, character) in self.0.char_indices().filter(|(_, it)| is_unprintable(*it)) {
            f.write_str(&self.0[plain..at])?;
            write!(f, "{}", character.escape_default())?;
            plain = at + character.len_utf8();
        }
        f.write_str(&self.0[plain..])
    }
}

/// Whether a terminal would interpret this character rather than show it; not so for newlines and
/// tabs.
pub fn is_unprintable(character: char) -> bool {
    let directs = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let separates = matches!(character, '\u{2028}' | '\u{2029}');
    directs || separates || (character.is_control() && !matches!(character, '\n' | '\t'))
}

/// The text of an error, printable.
fn text_of(error: &dyn Error) -> String {
    Printable(&error.to_string()).to_string()
}

/// The longest message of an error or a cause that travels in a message, in bytes.
pub(crate) const MAX_TEXT: usize = 4 << 10;

/// A number with the words that follow it, which depend on whether there is one: `3 tasks wait`.
pub(crate) fn number(count: impl TryInto<u64>, one: &str, others: &str) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {one}"),
        count => format!("{count} {others}"),
    }
}

/// Cuts a text to `max` bytes, and says how much is left out.
pub(crate) fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let mut end = max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let more = text.len() - end;
        text.truncate(end);
        let _ = write!(text, "… ({more} bytes more)");
    }
    text
}

/// An error and its causes, separated by colons. A cause is left out if the text before it already
/// ends with it.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = text_of(error);
    for cause in unquoted_causes(error) {
        let _ = write!(text, ": {cause}");
    }
    text
}

/// Writes an error as `main` prints it when it returns one: its message, then a list of the causes
/// that the message does not quote.
pub fn write_report(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&text_of(error))?;
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
    let mut last = text_of(error);
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = text_of(error);
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
    fn characters_that_control_a_terminal_are_escaped_and_others_are_not() {
        let hostile = "\0 \u{1b}[2J \r \u{202e}txt \u{9b} \u{2028}";
        let expected = "\\u{0} \\u{1b}[2J \\r \\u{202e}txt \\u{9b} \\u{2028}";
        assert_eq!(Printable(hostile).to_string(), expected);
        assert_eq!(Printable(expected).to_string(), expected);
        let harmless = "two\nlines\tof \"Größe\" 日本語 \\ 🙂";
        assert_eq!(Printable(harmless).to_string(), harmless);
        let error = chain(&["no page: \u{1b}[2J", "\u{1b}[2J"]);
        assert_eq!(with_causes(&error), "no page: \\u{1b}[2J");
        assert_eq!(format!("{error:?}"), "no page: \\u{1b}[2J");
    }

    #[test]
    fn one_line_has_the_causes_after_colons() {
        let error = chain(&["no invoice", "no page: timed out", "timed out"]);
        assert_eq!(with_causes(&error), "no invoice: no page: timed out");
    }
}
