//! The hash and the text of a structure.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use super::format::{Branch, Container, Form, Format, Kind, way_back};

/// The longest text, in bytes; longer ones are cut.
const LONGEST_TEXT: usize = 1_000;

/// The hash of a structure: equal for equal structures, in every program.
pub(super) fn hash(containers: &[Container], root: Format) -> u64 {
    let mut hasher = Hasher { containers, stack: Vec::new(), closed: HashMap::new() };
    hasher.format(root).0
}

struct Hasher<'a> {
    containers: &'a [Container],
    /// The containers that enclose the current place: recursion is written as the distance to one.
    stack: Vec<usize>,
    /// Containers that nothing inside leads out of look the same everywhere.
    closed: HashMap<usize, u64>,
}

impl Hasher<'_> {
    /// The hash, and the lowest place of the stack that it leads back to.
    fn format(&mut self, format: Format) -> (u64, usize) {
        match format {
            Format::Unknown | Format::Varying => (xxh3_64(b"_"), usize::MAX),
            Format::Leaf(name) => (xxh3_64(name.as_bytes()), usize::MAX),
            Format::Container(number) => self.container(number),
        }
    }

    fn container(&mut self, number: usize) -> (u64, usize) {
        if let Some(hash) = self.closed.get(&number) {
            return (*hash, usize::MAX);
        }
        if let Some(at) = way_back(self.containers, &self.stack, number) {
            return (xxh3_64(format!("^{}", self.stack.len() - at).as_bytes()), at);
        }
        let depth = self.stack.len();
        self.stack.push(number);
        let container = &self.containers[number];
        let mut bytes = Vec::new();
        word(&mut bytes, &format!("{:?}", container.kind));
        let mut lowest = usize::MAX;
        for branch in &container.branches {
            word(&mut bytes, branch.name);
            word(&mut bytes, &format!("{:?}", branch.form));
            for name in branch.names {
                word(&mut bytes, name);
            }
            for slot in &branch.slots {
                let (hash, back) = self.format(*slot);
                bytes.extend(hash.to_le_bytes());
                lowest = lowest.min(back);
            }
        }
        self.stack.pop();
        let hash = xxh3_64(&bytes);
        if lowest >= depth {
            self.closed.insert(number, hash);
            lowest = usize::MAX;
        }
        (hash, lowest)
    }
}

/// Appends a word with its length, so that adjacent words cannot be confused.
fn word(bytes: &mut Vec<u8>, word: &str) {
    bytes.extend((word.len() as u64).to_le_bytes());
    bytes.extend(word.as_bytes());
}

/// Renders a structure as text: `{name: str, tags: [str], next: Option<^1>}`.
pub(super) fn text(containers: &[Container], root: Format) -> String {
    let mut writer = Writer { containers, stack: Vec::new(), out: String::new() };
    writer.format(root);
    let mut text = writer.out;
    if text.len() > LONGEST_TEXT {
        let cut = (0..=LONGEST_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}

struct Writer<'a> {
    containers: &'a [Container],
    stack: Vec<usize>,
    out: String,
}

impl Writer<'_> {
    fn format(&mut self, format: Format) {
        match format {
            Format::Unknown | Format::Varying => self.out.push('_'),
            Format::Leaf(name) => self.out.push_str(name),
            Format::Container(number) => self.container(number),
        }
    }

    fn container(&mut self, number: usize) {
        if self.out.len() > LONGEST_TEXT {
            return;
        }
        if let Some(at) = way_back(self.containers, &self.stack, number) {
            self.out.push_str(&format!("^{}", self.stack.len() - at));
            return;
        }
        self.stack.push(number);
        let container = &self.containers[number];
        let first = &container.branches[..container.branches.len().min(1)];
        match (container.kind, first) {
            (Kind::Option, [some]) => self.list("Option<", &some.slots, ">"),
            (Kind::Seq, [one]) => self.list("[", &one.slots, "]"),
            (Kind::Map, [one]) => self.list("map<", &one.slots, ">"),
            (Kind::Tuple(_) | Kind::Struct, [only]) => self.branch(only),
            _ => self.variants(&container.branches),
        }
        self.stack.pop();
    }

    fn variants(&mut self, variants: &[Branch]) {
        self.out.push_str("enum {");
        for (index, variant) in variants.iter().enumerate() {
            self.out.push_str(if index == 0 { "" } else { " | " });
            self.out.push_str(variant.name);
            self.branch(variant);
        }
        self.out.push('}');
    }

    fn branch(&mut self, branch: &Branch) {
        match branch.form {
            Form::Unknown => self.out.push_str("(_)"),
            Form::Unit => {}
            Form::Newtype => self.list("(", &branch.slots, ")"),
            Form::Tuple => match branch.slots.as_slice() {
                [first, rest @ ..] if rest.len() >= 3 && rest.iter().all(|slot| slot == first) => {
                    self.out.push('[');
                    self.format(*first);
                    self.out.push_str(&format!("; {}]", branch.slots.len()));
                }
                slots => self.list("(", slots, ")"),
            },
            Form::Struct => self.fields(branch),
        }
    }

    fn fields(&mut self, branch: &Branch) {
        self.out.push('{');
        for (index, name) in branch.names.iter().enumerate() {
            self.out.push_str(if index == 0 { "" } else { ", " });
            self.out.push_str(name);
            self.out.push_str(": ");
            self.format(branch.slots.get(index).copied().unwrap_or_default());
        }
        self.out.push('}');
    }

    fn list(&mut self, open: &str, slots: &[Format], close: &str) {
        self.out.push_str(open);
        for (index, slot) in slots.iter().enumerate() {
            self.out.push_str(if index == 0 { "" } else { ", " });
            self.format(*slot);
        }
        self.out.push_str(if slots.is_empty() { "_" } else { "" });
        self.out.push_str(close);
    }
}
