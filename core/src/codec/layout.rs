//! How keys and values are told apart in the elements of a task.
//!
//! Postcard is compositional: a pair is its key, followed by its value. Where the key ends only its
//! type tells, and a worker knows only the types of its operations. So where a stage begins by looking
//! at keys, its elements are framed: the lengths of key and value, as varints, in front of both.

use serde::{Deserialize, Serialize};

use super::{CodecError, appending::Appending};

/// How the elements of a task are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Layout {
    /// As they are.
    #[default]
    Plain,
    /// Framed pairs of a key and a value.
    Pairs,
    /// Framed; the whole element is the key, and there is no value.
    Whole,
}

/// Replaces the encoding of an element at the end of `out`, which begins at `from`, by the one of this
/// layout. `first_item` is where the key of a pair ends.
///
/// # Errors
/// If the element is to be a pair, and is none.
#[inline]
pub(crate) fn frame(
    out: &mut Vec<u8>,
    from: usize,
    first_item: Option<usize>,
    layout: Layout,
) -> Result<(), CodecError> {
    let end = out.len();
    let key_end = match (layout, first_item) {
        (Layout::Plain, _) => return Ok(()),
        (Layout::Whole, _) => end,
        (Layout::Pairs, Some(key_end)) => key_end,
        (Layout::Pairs, None) => return Err(CodecError::no_pair()),
    };
    push_frame(out, key_end - from, end - key_end);
    // The frame was written behind the element, and belongs in front of it.
    out[from..].rotate_left(end - from);
    Ok(())
}

/// Appends the lengths of a key and a value.
#[inline]
pub fn push_frame(out: &mut Vec<u8>, key: usize, value: usize) {
    let mut appending = Appending(out);
    appending.push_varint(key as u64);
    appending.push_varint(value as u64);
}

/// Reads a framed element from the front of `bytes`, and advances them past it: its key, and its value.
/// `None` if it is cut off.
#[inline]
pub fn read_frame<'b>(bytes: &mut &'b [u8]) -> Option<(&'b [u8], &'b [u8])> {
    let mut rest = *bytes;
    let (key, value) = (read_length(&mut rest)?, read_length(&mut rest)?);
    let (key, rest) = rest.split_at_checked(key)?;
    let (value, rest) = rest.split_at_checked(value)?;
    *bytes = rest;
    Some((key, value))
}

#[inline]
fn read_length(bytes: &mut &[u8]) -> Option<usize> {
    let mut length = 0_u64;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(length).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Known, append};

    fn framed<T: crate::operation::Data>(value: &T, layout: Layout) -> Result<Vec<u8>, CodecError> {
        let mut out = b"before".to_vec();
        let first_item = append(value, &mut out, &mut Known::of::<T>())?;
        frame(&mut out, 6, first_item, layout)?;
        Ok(out.split_off(6))
    }

    #[test]
    fn a_framed_pair_gives_back_the_encodings_of_key_and_value() {
        let key = ("nested".to_owned(), (1u8, 2u16));
        let pair = (key.clone(), vec![(3u32, 4u64); 50]);
        let bytes = framed(&pair, Layout::Pairs).unwrap();
        let mut rest = &bytes[..];
        let (key_bytes, value_bytes) = read_frame(&mut rest).unwrap();
        assert_eq!(key_bytes, crate::codec::encode(&key).unwrap());
        assert_eq!(value_bytes, crate::codec::encode(&pair.1).unwrap());
        assert!(rest.is_empty());
        for cut in 0..bytes.len() {
            assert_eq!(read_frame(&mut &bytes[..cut]), None, "cut after {cut} bytes");
        }
    }

    #[test]
    fn a_whole_element_is_a_key_without_a_value() {
        let bytes = framed(&"word".to_owned(), Layout::Whole).unwrap();
        assert_eq!(read_frame(&mut &bytes[..]), Some((&b"\x04word"[..], &b""[..])));
        assert_eq!(framed(&(), Layout::Whole).unwrap(), [0, 0]);
        assert_eq!(framed(&7u8, Layout::Plain).unwrap(), [7]);
    }

    #[test]
    fn what_is_not_a_pair_has_no_key() {
        assert!(framed(&7u8, Layout::Pairs).is_err());
        assert!(framed(&vec![1, 2], Layout::Pairs).is_err());
    }

    #[test]
    fn an_endless_length_is_rejected() {
        assert_eq!(read_frame(&mut &[0xff; 12][..]), None);
        assert_eq!(read_frame(&mut &[0xff, 0xff, 0xff, 0xff, 0x7f, 0][..]), None);
    }
}
