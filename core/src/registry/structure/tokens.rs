//! What a type writes, as postcard distinguishes it, to be read again.

use std::collections::VecDeque;

/// One piece of a written value. Kinds that postcard writes alike are one kind here.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Bool(bool),
    U8(u8),
    I8(i8),
    /// The wider integers: each is a number of bytes that depends on its value, not on its type.
    Unsigned(u128),
    Signed(i128),
    F32(f32),
    F64(f64),
    /// A string or a `char`.
    Text(String),
    Bytes(Vec<u8>),
    /// The tag of an `Option`.
    Present(bool),
    /// The length of a sequence or map.
    Len(usize),
    /// The number of a variant.
    Variant(u32),
    /// The fields of a struct, tuple struct or variant follow. Postcard writes nothing here.
    Fields(Fields),
}

/// The fields that a struct, tuple struct or variant writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    /// The type, as serde reports it, and the variant; empty for tuples.
    pub(super) owner: String,
    /// Empty if they have no names.
    pub(super) names: Vec<&'static str>,
    pub(super) count: usize,
}

impl Fields {
    /// Why reading this many fields, of these names (which include aliases), does not read what
    /// was written.
    pub(super) fn mismatch(&self, read: usize, names: &[&'static str]) -> Option<String> {
        let (more, does, does_not, attribute) = if read > self.count {
            (list(names, &self.names), "reads", "writes", "skip_serializing")
        } else if read < self.count {
            (list(&self.names, names), "writes", "reads", "skip_deserializing")
        } else {
            return self.shuffled(names);
        };
        let what = if more.is_empty() { "a field".to_owned() } else { format!("field {more}") };
        Some(format!(
            "{does} {what} of `{}` that it never {does_not}: use `serde(skip)` in place of \
             `serde({attribute})`",
            self.owner
        ))
    }

    /// Why fields of these names are not in the order in which they were written. Names that only
    /// one of both has do not count: they are aliases, or `serde(rename(serialize = "…"))`.
    fn shuffled(&self, names: &[&'static str]) -> Option<String> {
        let written = self.names.iter().filter(|name| names.contains(name));
        let read = names.iter().filter(|name| self.names.contains(name));
        let (written, read) = written.zip(read).find(|(written, read)| written != read)?;
        Some(format!(
            "writes field `{written}` of `{}` where it reads `{read}`: write and read the fields in \
             one order",
            self.owner
        ))
    }
}

/// The names that are not among others.
fn list(names: &[&'static str], others: &[&'static str]) -> String {
    let missing: Vec<String> = names
        .iter()
        .filter(|name| !others.contains(name))
        .map(|name| format!("`{name}`"))
        .collect();
    missing.join(", ")
}

/// A written value that is being read.
#[derive(Debug, Default)]
pub(super) struct Replay {
    tokens: VecDeque<Token>,
    /// Why it cannot be read as it was written.
    pub(super) mismatch: Option<String>,
    /// Whether the mismatch is that of a missing field.
    pub(super) blamed: bool,
}

impl Replay {
    pub(super) fn new(tokens: Vec<Token>) -> Self {
        Self { tokens: tokens.into(), ..Self::default() }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.tokens.iter().all(|token| matches!(token, Token::Fields(_)))
    }

    /// The next token that postcard writes.
    pub(super) fn scalar(&mut self) -> Option<Token> {
        while let Some(Token::Fields(_)) = self.tokens.front() {
            self.tokens.pop_front();
        }
        self.tokens.pop_front()
    }

    /// What was written about fields at this place; `None` if they were no fields.
    pub(super) fn fields(&mut self) -> Option<Fields> {
        match self.tokens.front() {
            Some(Token::Fields(_)) => match self.tokens.pop_front() {
                Some(Token::Fields(fields)) => Some(fields),
                _ => None,
            },
            _ => None,
        }
    }

    /// The elements of a sequence of bytes.
    pub(super) fn byte_elements(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for _ in 0..len {
            match self.scalar()? {
                Token::U8(byte) => bytes.push(byte),
                _ => return None,
            }
        }
        Some(bytes)
    }

    /// The length of a sequence, which may have been written as bytes.
    pub(super) fn len(&mut self) -> Option<usize> {
        match self.scalar()? {
            Token::Len(len) => Some(len),
            Token::Bytes(bytes) => {
                let len = bytes.len();
                bytes.into_iter().rev().for_each(|byte| self.tokens.push_front(Token::U8(byte)));
                Some(len)
            }
            _ => None,
        }
    }

    pub(super) fn refuse(&mut self, reason: impl FnOnce() -> String) {
        if self.mismatch.is_none() {
            self.mismatch = Some(reason());
        }
    }
}
