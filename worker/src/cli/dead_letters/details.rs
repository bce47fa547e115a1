//! All details of one dead letter.

use std::fmt::Write;

use phalanx_core::{
    dead_letters::{DeadLetterContent, DeadLetterEntry, UnreadableDeadLetter},
    error::Group,
    wire::DeadLetterHeader,
};

use super::table::{age, printable};

/// How many bytes of an element are shown.
const SHOWN_BYTES: usize = 256;

/// Bytes in one row of the dump.
const ROW_BYTES: usize = 16;

/// All details, one per line, and the first bytes of the payload.
pub(super) fn details(content: &DeadLetterContent, now_ms: u64) -> String {
    let mut text = String::new();
    match &content.entry {
        DeadLetterEntry::Element(header) => element(&mut text, header, now_ms),
        DeadLetterEntry::Unreadable(letter) => unreadable(&mut text, letter),
        other => line(&mut text, "id", &other.id().to_string()),
    }
    dump(&mut text, &content.payload);
    text
}

fn element(text: &mut String, header: &DeadLetterHeader, now_ms: u64) {
    line(text, "id", &header.id.to_string());
    let written = format!("{} ago ({} ms)", age(header.written_ms, now_ms), header.written_ms);
    line(text, "written", &written);
    line(text, "operation", &header.error.operation);
    line(text, "error", &format!("{:?}", header.error.error.kind()));
    for cause in header.error.error.chain() {
        line(text, "", cause);
    }
    let index = || format!("index {} of the source", header.error.index);
    line(text, "element", &header.error.group.as_ref().map_or_else(index, Group::to_string));
    line(text, "job", &format!("{}, stage {}", header.error.job, header.error.stage));
    line(
        text,
        "task",
        &format!("{}, attempt {}", header.error.copy.task, header.error.copy.attempt),
    );
    line(text, "tries", &header.error.tries.to_string());
    let worker = header.error.worker.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
    line(text, "worker", &worker);
    line(text, "leader", &header.leader.to_string());
    line(text, "pool", header.pool.as_str());
    for (at, step) in header.steps.iter().enumerate() {
        let title = if at == 0 { "steps" } else { "" };
        let described = format!(
            "{} {} (fingerprint {:016x}, state of {} bytes)",
            step.verb,
            step.name,
            step.fingerprint,
            step.state.len()
        );
        line(text, title, &described);
    }
    let values = match header.lengths.len() {
        1 => String::new(),
        several => format!(", {several} values"),
    };
    let kept = header.left_out.map(|reason| format!(", not kept: {reason}")).unwrap_or_default();
    line(text, "payload", &format!("{} bytes{values}{kept}", header.size()));
}

fn unreadable(text: &mut String, letter: &UnreadableDeadLetter) {
    line(text, "id", &letter.id.to_string());
    line(text, "kind", letter.kind.map_or("unknown", |kind| kind.name()));
    line(text, "reason", &letter.reason);
    for (name, value) in &letter.headers {
        line(text, "header", &format!("{name}: {value}"));
    }
    line(text, "payload", &format!("{} bytes", letter.size));
}

fn line(text: &mut String, title: &str, value: &str) {
    if value.is_empty() {
        let _ = writeln!(text, "{title:<10} (empty)");
    }
    for (at, part) in value.lines().enumerate() {
        let title = if at == 0 { title } else { "" };
        let part: String = part.chars().map(printable).collect();
        let _ = writeln!(text, "{title:<10} {part}");
    }
}

/// The first bytes, in hexadecimal and as text.
fn dump(text: &mut String, bytes: &[u8]) {
    for (index, row) in bytes[..bytes.len().min(SHOWN_BYTES)].chunks(ROW_BYTES).enumerate() {
        let hex: String = row.iter().map(|byte| format!("{byte:02x} ")).collect();
        let _ = writeln!(text, "  {:04x}  {hex:<48} |{}|", index * ROW_BYTES, legible(row));
    }
    if bytes.len() > SHOWN_BYTES {
        let _ = writeln!(text, "  … {} bytes more", bytes.len() - SHOWN_BYTES);
    }
}

/// The row as text. Characters that do not fit into the row are replaced.
fn legible(row: &[u8]) -> String {
    let shown = |c: char| if c.is_control() || c == '\u{fffd}' { '.' } else { c };
    String::from_utf8_lossy(row).chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_hexadecimal_and_as_text() {
        let mut text = String::new();
        dump(&mut text, "grüße\0\u{1b}[2J, and the rest".as_bytes());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("  0000  67 72 c3 bc c3 9f 65 00 1b"), "{text}");
        assert!(lines[0].ends_with("|grüße..[2J, an|"), "{text}");
        assert!(lines[1].starts_with("  0010  64 20 74"), "{text}");
        let mut text = String::new();
        dump(&mut text, &[0; 300]);
        assert_eq!(text.lines().count(), 17);
        assert!(text.ends_with("… 44 bytes more\n"), "{text}");
    }
}
