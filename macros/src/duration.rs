//! Durations in the notation `500ms`, `30s`, `5m`, `2h`, and ranges `1s..5m` of them.

use std::time::Duration;

/// A duration that is not zero.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    parse_any(text).filter(|duration| !duration.is_zero())
}

fn parse_any(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let count: u64 = text[..digits].parse().ok()?;
    let milliseconds: u64 = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(count.checked_mul(milliseconds)?))
}

/// The ends of a range, of which the first is not the longer one, and may be zero.
pub(crate) fn parse_range(text: &str) -> Option<(Duration, Duration)> {
    let (from, to) = text.split_once("..")?;
    let (from, to) = (parse_any(from)?, parse(to)?);
    (from <= to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse, parse_range};

    #[test]
    fn a_range_has_two_ends_in_order() {
        let (second, minutes) = (Duration::from_secs(1), Duration::from_secs(300));
        assert_eq!(parse_range("1s..5m"), Some((second, minutes)));
        assert_eq!(parse_range("1s..1s"), Some((second, second)));
        assert_eq!(parse_range("0s..1s"), Some((Duration::ZERO, second)));
        for text in ["", "1s", "1s..", "..5m", "5m..1s", "1s...5m", "1s..=5m", "0s..0s"] {
            assert_eq!(parse_range(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_a_count_and_a_unit() {
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse("2h"), Some(Duration::from_secs(7200)));
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in ["", "30", "s", "0s", "-1s", "1.5s", "30 s", "1d", "99999999999999999999s"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("18446744073709551615h"), None);
    }
}
