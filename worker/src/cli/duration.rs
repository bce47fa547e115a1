//! Durations on the command line.

use std::time::Duration;

use phalanx_core::wire::timing::{HOLD, SHORTEST_HOLD};

/// The longest duration: clocks can still add it.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Parses `500ms`, `30s`, `1.5m` or `2h`; a number without a unit is in seconds.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return Err(invalid(text)),
    };
    let number: f64 = number.parse().map_err(|_| invalid(text))?;
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|_| invalid(text))?;
    if duration > LONGEST {
        return Err(format!("`{text}` is longer than a year"));
    }
    Ok(duration)
}

/// Parses a hold, which has a range.
pub(super) fn parse_hold(text: &str) -> Result<Duration, String> {
    let hold = parse(text)?;
    if !(SHORTEST_HOLD..=HOLD).contains(&hold) {
        return Err(format!("`{text}` is not between {SHORTEST_HOLD:?} and {HOLD:?}"));
    }
    Ok(hold)
}

fn invalid(text: &str) -> String {
    format!("`{text}` is not a duration; write it like 500ms, 30s, 2m or 1h")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_default_to_seconds() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("30", 30_000),
            ("1.5m", 90_000),
            ("2h", 7_200_000),
            (" 0s ", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "soon", "-1s", "1d", "1e9", "1.2.3s", "99999999999999999s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
