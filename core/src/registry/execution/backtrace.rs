//! The part of a backtrace that belongs to an operation.

use std::backtrace::{Backtrace, BacktraceStatus};

/// The longest backtrace of an error, in bytes.
const MAX_BYTES: usize = 8 << 10;
/// The frames of panicking itself end with one of these.
const BEFORE: [&str; 3] = ["core::panicking::", "std::panicking::", "begin_unwind"];
/// The frames that call an operation begin with one of these.
const AFTER: [&str; 2] = ["registry::execution::panics", "std::panicking::catch_unwind"];

/// The backtrace of the panic under way, if `RUST_BACKTRACE` or `RUST_LIB_BACKTRACE` asks for one.
#[cold]
pub(super) fn capture() -> Option<String> {
    let backtrace = Backtrace::capture();
    (backtrace.status() == BacktraceStatus::Captured).then(|| trimmed(&backtrace.to_string()))
}

/// The frames between those of panicking and those that call the operation.
fn trimmed(text: &str) -> String {
    let mut frames: Vec<String> = Vec::new();
    for line in text.lines() {
        // A frame begins with its number; its place follows on a line of its own.
        let begins = line.trim_start().starts_with(|c: char| c.is_ascii_digit());
        match frames.last_mut() {
            Some(frame) if !begins => {
                frame.push('\n');
                frame.push_str(line);
            }
            _ => frames.push(String::from(line)),
        }
    }
    let is = |frame: &String, names: &[&str]| names.iter().any(|name| frame.contains(name));
    let after = frames.iter().rposition(|frame| is(frame, &BEFORE[..1]) || is(frame, &BEFORE[2..]));
    let first = after.map_or(0, |last| last + 1);
    let inner = &frames[first..];
    let end = inner.iter().position(|frame| is(frame, &AFTER)).unwrap_or(inner.len());
    let inner = if end == 0 { &frames[..] } else { &inner[..end] };
    let mut kept = String::from("stack backtrace:");
    for frame in inner {
        if kept.len() + frame.len() > MAX_BYTES {
            kept.push_str("\n      …");
            break;
        }
        kept.push('\n');
        kept.push_str(frame);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_frames_of_the_operation_are_kept() {
        let text = "   0: __rustc::rust_begin_unwind\n   1: core::panicking::panic_fmt\n   \
                    2: shop::price\n             at ./src/shop.rs:7:5\n   3: shop::cart\n   4: \
                    phalanx_core::registry::execution::panics::caught\n   5: main";
        let expected = "stack backtrace:\n   2: shop::price\n             at \
                        ./src/shop.rs:7:5\n   3: shop::cart";
        assert_eq!(trimmed(text), expected);
    }

    #[test]
    fn a_backtrace_without_known_frames_is_kept_up_to_a_limit() {
        assert_eq!(trimmed("   0: main"), "stack backtrace:\n   0: main");
        let long: String = (0..10_000).map(|number| format!("   {number}: recurse\n")).collect();
        assert!(trimmed(&long).len() < MAX_BYTES + 100);
    }
}
