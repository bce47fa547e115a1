//! Values that are encoded one after the other.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use super::{CodecError, Known, append, append_as};

/// Encoded values, each as a key and a value: for a tuple, its first item is the key; any other
/// value is a key as a whole.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Encodings {
    /// The encodings, one after the other.
    pub bytes: Vec<u8>,
    /// The end of each key in `bytes`.
    pub key_ends: Vec<u32>,
    /// The end of each value in `bytes`.
    pub ends: Vec<u32>,
}

impl Encodings {
    /// The number of values.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Drops the last values, until `keep` are left, and what is left of one that was not
    /// completed.
    pub fn truncate(&mut self, keep: usize) {
        self.ends.truncate(keep);
        self.key_ends.truncate(keep);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }

    /// Appends a value; on error, a part of it.
    #[inline]
    pub(crate) fn push<T>(&mut self, value: &T, known: &mut Arc<Known>) -> Result<(), CodecError>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let first_item = append(value, &mut self.bytes, known)?;
        self.end(first_item)
    }

    /// As [`push`](Self::push), with a value that is written as a `T` is.
    #[inline]
    pub(crate) fn push_view<T, Q>(
        &mut self,
        value: &Q,
        known: &mut Arc<Known>,
    ) -> Result<(), CodecError>
    where
        T: Serialize + DeserializeOwned + 'static,
        Q: Serialize + ?Sized,
    {
        let first_item = append_as::<T, Q>(value, &mut self.bytes, known)?;
        self.end(first_item)
    }

    /// Ends a value whose encoding has been appended, and whose first item ends at `first_item`.
    #[inline]
    pub(crate) fn end(&mut self, first_item: Option<usize>) -> Result<(), CodecError> {
        let end = place(self.bytes.len())?;
        // It is at most `end`, so it fits.
        self.key_ends.push(first_item.map_or(end, |at| at as u32));
        self.ends.push(end);
        Ok(())
    }
}

/// A place in the bytes of encoded values.
#[inline]
pub(crate) fn place(at: usize) -> Result<u32, CodecError> {
    u32::try_from(at).map_err(|_| too_many())
}

#[cold]
fn too_many() -> CodecError {
    CodecError::new("the outputs of some elements take up more than 4 GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_item_of_a_tuple_is_its_key_and_another_value_is_its_own() {
        let mut encodings = Encodings::default();
        let mut pairs = Known::of::<(String, u64)>();
        encodings.push_view::<(String, u64), _>(&("ab", 7u64), &mut pairs).unwrap();
        encodings.push(&"c".to_owned(), &mut Known::of::<String>()).unwrap();
        assert_eq!(encodings.bytes, b"\x02ab\x07\x01c");
        assert_eq!((&*encodings.key_ends, &*encodings.ends), (&[3, 6][..], &[4, 6][..]));
        encodings.bytes.extend_from_slice(b"half");
        encodings.truncate(1);
        assert_eq!((encodings.len(), &*encodings.bytes), (1, &b"\x02ab\x07"[..]));
    }

    #[test]
    fn a_borrowed_value_that_is_read_as_something_else_is_refused() {
        let mut known = Known::of::<(u8, u16)>();
        let refused = Encodings::default().push_view::<(u8, u16), _>(&("ab", 300u16), &mut known);
        assert!(refused.is_err());
    }

    #[test]
    fn ends_that_do_not_fit_are_an_error() {
        assert_eq!(place(u32::MAX as usize).ok(), Some(u32::MAX));
        assert!(place(u32::MAX as usize + 1).unwrap_err().to_string().contains("more than 4 GiB"));
    }
}
