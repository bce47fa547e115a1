//! Sizes on the command line.

use crate::options::{LARGEST_STACK, SMALLEST_GATHER_MEMORY, SMALLEST_STACK};

/// Parses the stack of a thread: `512KiB`, `8MiB` or `1GiB` (or `512K`, `8M`, `1G`); a number without
/// a unit is in bytes.
pub(super) fn parse_stack(text: &str) -> Result<usize, String> {
    let stack = parse(text)
        .ok_or_else(|| format!("`{text}` is not a size; write it like 512KiB, 8MiB or 1GiB"))?;
    if !(SMALLEST_STACK..=LARGEST_STACK).contains(&stack) {
        return Err(format!("`{text}` is not between 64KiB and 1GiB"));
    }
    Ok(stack)
}

/// Parses an amount of memory, written alike; at least 64 KiB.
pub(super) fn parse_memory(text: &str) -> Result<u64, String> {
    let bytes = parse(text)
        .ok_or_else(|| format!("`{text}` is not a size; write it like 512MiB or 1GiB"))?;
    match bytes as u64 {
        bytes if bytes < SMALLEST_GATHER_MEMORY => Err(format!("`{text}` is less than 64KiB")),
        bytes => Ok(bytes),
    }
}

fn parse(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_has_a_unit_or_is_in_bytes_and_has_a_range() {
        for (text, bytes) in [
            ("8MiB", 8 << 20),
            ("8M", 8 << 20),
            ("65536", 65536),
            (" 64 KiB ", 65536),
            ("1G", 1 << 30),
        ] {
            assert_eq!(parse_stack(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5M", "8MB", "63K", "2G", "99999999999999999999G"] {
            assert!(parse_stack(text).is_err(), "{text}");
        }
    }
}
