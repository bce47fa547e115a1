//! The table of dead letters.

use phalanx_core::{
    dead_letters::DeadLetterEntry,
    error::{ExecuteError, Group},
    report::is_unprintable,
};

/// The widest cell, in characters: an error can be pages long.
const MAX_CELL_WIDTH: usize = 60;

const COLUMNS: [&str; 7] = ["ID", "AGE", "OPERATION", "ELEMENT", "TRIES", "BYTES", "ERROR"];

/// The entries as a table with a header; empty if there are none.
pub(super) fn table(entries: &[DeadLetterEntry], now_ms: u64) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let rows: Vec<[String; 7]> = std::iter::once(COLUMNS.map(str::to_owned))
        .chain(entries.iter().map(|entry| cells(entry, now_ms)))
        .collect();
    let widths: [usize; 7] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = widths[column] - cell.chars().count();
            // Numbers are aligned to the right.
            let right = matches!(column, 1 | 3..=5);
            let (before, after) = if right { (padding, 0) } else { (0, padding) };
            line += &format!("{:before$}{cell}{:after$}  ", "", "");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn cells(entry: &DeadLetterEntry, now_ms: u64) -> [String; 7] {
    match entry {
        DeadLetterEntry::Element(header) => [
            header.id.to_string(),
            age(header.written_ms, now_ms),
            one_line(&header.error.operation),
            element(&header.error),
            header.error.tries.to_string(),
            header.size().to_string(),
            one_line(&header.error.error.to_string()),
        ],
        DeadLetterEntry::Unreadable(letter) => [
            letter.id.to_string(),
            String::new(),
            format!("({})", letter.kind.map_or("unreadable", |kind| kind.name())),
            String::new(),
            String::new(),
            letter.size.to_string(),
            one_line(&letter.reason),
        ],
        other => {
            let mut cells: [String; 7] = Default::default();
            cells[0] = other.id().to_string();
            cells
        }
    }
}

/// The index of the element; or its key, or else its partition and number, if an exchange made it.
fn element(error: &ExecuteError) -> String {
    match &error.group {
        None => error.index.to_string(),
        Some(Group { key: Some(key), .. }) => one_line(&key.to_string()),
        Some(group) => format!("{}/{}", group.partition, group.element),
    }
}

/// The time since `then_ms`, in its largest unit: `7s`, `2h`.
pub(super) fn age(then_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The first line, cut to the width of a cell, without control characters.
fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= MAX_CELL_WIDTH && line.len() == text.len() {
        return line.chars().map(printable).collect();
    }
    line.chars().take(MAX_CELL_WIDTH - 1).map(printable).chain(['…']).collect()
}

/// Replaces control characters, which a terminal would interpret.
pub(super) fn printable(c: char) -> char {
    if c.is_control() || is_unprintable(c) { '\u{fffd}' } else { c }
}

#[cfg(test)]
mod tests {
    use phalanx_core::{
        codec,
        id::{CopyId, JobId, LeaderId, TaskNumber, WorkerId},
        operation::OperationError,
        wire::DeadLetterHeader,
    };

    use super::*;

    const ID: &str = "00000000-0000-0000-0000-00000000000";

    /// The type is `non_exhaustive`: only its encoding can be made here.
    fn execute_error(operation: &str, key: Option<&str>, error: &str) -> ExecuteError {
        let length = key.map(|key| key.len() as u64).unwrap_or_default();
        let group = key.map(|key| (3_u32, 7_u64, Some((key, length))));
        let copy = CopyId::new(TaskNumber(1), 1);
        let error = OperationError::fatal(error);
        let fields =
            (JobId::new(), operation, 0_u32, 7_u64, group, copy, 4_u32, None::<WorkerId>, error);
        codec::decode(&codec::encode(&fields).unwrap()).unwrap()
    }

    fn letter(id: u8, operation: &str, key: Option<&str>, error: &str) -> DeadLetterEntry {
        DeadLetterEntry::Element(Box::new(DeadLetterHeader {
            id: format!("{ID}{id}").parse().unwrap(),
            written_ms: 1_000_000,
            leader: LeaderId::new(),
            pool: Default::default(),
            error: execute_error(operation, key, error),
            steps: Vec::new(),
            lengths: vec![1_234],
            left_out: None,
        }))
    }

    #[test]
    fn columns_are_aligned_and_no_cell_breaks_its_line() {
        let entries = [
            letter(1, "ops::Fetch", None, "no luck"),
            letter(2, "ops::A", Some("\x04pear"), &format!("{}\nmore", "é\u{1b}".repeat(40))),
        ];
        let text = table(&entries, 1_000_000 + 7_300_000);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            format!("{:<36}  AGE  OPERATION   ELEMENT  TRIES  BYTES  ERROR", "ID")
        );
        assert_eq!(lines[1], format!("{ID}1   2h  ops::Fetch        7      4   1234  no luck"));
        let cut = format!("{ID}2   2h  ops::A       \"pear\"      4   1234  é\\u{{1b}}é");
        assert!(lines[2].starts_with(&cut) && lines[2].ends_with('…'), "{text}");
        assert_eq!(lines.len(), 3);
        assert_eq!(table(&[], 0), "");
    }
}
