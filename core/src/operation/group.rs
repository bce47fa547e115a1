//! Names of elements that an exchange made: their keys, and where they are.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An element that an exchange made, such as the group of a key: where it is, and its key.
///
/// Errors, events and dead letters name elements behind an exchange by it. Displayed, it is
/// `key "pear", element 7 of partition 3`.
///
/// ```
/// # use phalanx::prelude::*;
/// #[operation(name = "sum")]
/// fn sum((name, prices): (String, Vec<i64>)) -> Result<i64> {
///     if prices.iter().any(|price| *price < 0) {
///         return Err(OperationError::fatal("a negative price"));
///     }
///     Ok(prices.iter().sum())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let prices = [("apple", 2), ("pear", -1), ("apple", 3)].map(|(name, n)| (name.to_owned(), n));
/// let sums = IndexedStream::from(prices).group_by_key().map(Sum);
/// let error = sums.collect(&runtime).await.unwrap_err();
/// assert!(error.to_string().contains("operation `sum` failed at key \"pear\", element 0"));
///
/// let phalanx::Error::Execute(failure) = error else { panic!("{error}") };
/// let group = failure.group.as_ref().expect("the step is behind an exchange");
/// assert_eq!(group.key.as_ref().unwrap().to_string(), "\"pear\"");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Group {
    /// The partition of the exchange, from 0.
    pub partition: u32,
    /// The number of the element in its partition, from 0.
    pub element: u64,
    /// Its key. `None` if the element has left the stage that reads the exchange, or its partition
    /// has more than 64 MiB.
    pub key: Option<KeyPrefix>,
}

impl Group {
    pub(crate) fn new(partition: u32, element: u64, key: Option<KeyPrefix>) -> Self {
        Self { partition, element, key }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            write!(f, "key {key}, ")?;
        }
        write!(f, "element {} of partition {}", self.element, self.partition)
    }
}

/// The first bytes of the encoding of a key, at most 32.
///
/// Displayed, it is a text in quotes if the encoding is that of a string (`"pear"`), and otherwise
/// its bytes (`b"\x07"`, the number 7). `…` behind it says that the key is longer. Encodings do not
/// say of which type they are, so bytes that read as a string are shown as one.
///
/// ```
/// # use phalanx::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let pairs = [("pear", 1), ("pear", 2)].map(|(name, n)| (name.to_owned(), n));
/// let error = IndexedStream::from(pairs).collect_map(&runtime).await.unwrap_err();
/// let phalanx::Error::DuplicateKey { key, .. } = error else { panic!("{error}") };
/// assert_eq!(key.to_string(), "\"pear\"");
/// assert_eq!((key.bytes(), key.is_whole()), (&b"\x04pear"[..], true));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyPrefix {
    bytes: Vec<u8>,
    /// The length of the whole encoding.
    length: u64,
}

impl KeyPrefix {
    const MAX: usize = 32;

    /// The prefix of a key with this encoding.
    pub fn of(encoding: &[u8]) -> Self {
        let bytes = encoding[..encoding.len().min(Self::MAX)].to_vec();
        Self { bytes, length: encoding.len() as u64 }
    }

    /// The first bytes of the encoding.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.bytes.len().min(Self::MAX)]
    }

    /// Whether these are all bytes of the encoding.
    pub fn is_whole(&self) -> bool {
        self.bytes().len() as u64 == self.length
    }

    /// The text that the encoding is, as far as it is there: its length, and then as many bytes.
    fn text(&self) -> Option<&str> {
        let (length, head) = read_varint(self.bytes())?;
        let text = &self.bytes()[head..];
        if length == 0 || self.length.checked_sub(head as u64) != Some(length) {
            return None;
        }
        match std::str::from_utf8(text) {
            Ok(text) => Some(text),
            // A character is cut at the end.
            Err(error) if error.error_len().is_none() && !self.is_whole() => {
                std::str::from_utf8(&text[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        }
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => write!(f, "\"{}\"", text.escape_debug())?,
            None => write!(f, "b\"{}\"", self.bytes().escape_ascii())?,
        }
        if self.is_whole() { Ok(()) } else { f.write_str("…") }
    }
}

/// The number at the front of `bytes`, and its length in bytes.
fn read_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, at + 1));
        }
    }
    None
}

/// How texts name an element: by its index, or as that of an exchange.
pub(crate) fn element_name(index: u64, group: Option<&Group>) -> String {
    group.map_or_else(|| format!("element {index}"), Group::to_string)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(bytes: &[u8]) -> String {
        KeyPrefix::of(bytes).to_string()
    }

    #[test]
    fn a_key_is_shown_as_text_if_it_is_one_and_as_bytes_otherwise() {
        assert_eq!(shown(b"\x04pear"), "\"pear\"");
        assert_eq!(shown(b"\x04pea"), "b\"\\x04pea\"", "the length differs");
        assert_eq!(shown(b"\x04pears"), "b\"\\x04pears\"", "bytes are left over");
        assert_eq!(shown(b"\0"), "b\"\\x00\"");
        assert_eq!(shown(b""), "b\"\"");
        assert_eq!(shown(b"\x02\xff\xfe"), "b\"\\x02\\xff\\xfe\"");
        let hostile = "\u{1b}[2J\"\u{202e}\n";
        let bytes = [&[hostile.len() as u8][..], hostile.as_bytes()].concat();
        assert_eq!(shown(&bytes), "\"\\u{1b}[2J\\\"\\u{202e}\\n\"");
    }

    #[test]
    fn a_long_key_is_cut_between_two_characters() {
        let text = "é".repeat(50);
        let bytes = [&[100][..], text.as_bytes()].concat();
        assert_eq!(shown(&bytes), format!("\"{}\"…", "é".repeat(15)));
        assert_eq!(shown(&[0xff; 40]), format!("b\"{}\"…", "\\xff".repeat(32)));
    }

    proptest! {
        #[test]
        fn any_key_is_shown_in_one_short_line(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let shown = shown(&bytes);
            prop_assert!(shown.len() <= 340, "{}", shown);
            prop_assert!(!shown.chars().any(crate::report::is_unprintable));
            prop_assert!(!shown.contains('\n'));
        }
    }
}
