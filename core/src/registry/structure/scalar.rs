//! Scalars: made up from samples, or read from what was written.

use super::tokens::{Replay, Token};

// The first sample of each kind is tried first, the others if a type rejects it.
const INTEGERS: [u8; 8] = [1, 0, 2, 4, 10, 12, 64, 100];
const FLOATS: [f32; 4] = [1.0, 0.0, 0.5, 100.0];
const BOOLS: [bool; 2] = [true, false];
const CHARS: [char; 4] = ['a', '1', 'A', ' '];
const BYTES: [&[u8]; 10] =
    [&[1], &[1; 16], &[], &[1; 4], &[1; 8], &[1; 20], &[1; 32], &[1; 64], &[1; 12], &[1; 33]];
const STRINGS: [&str; 31] = [
    "a",
    "1",
    "2000-01-01",
    "2000-01-01T00:00:00Z",
    "2000-01-01T00:00:00",
    "00:00:00",
    "2000-01-01 00:00:00",
    "http://a.aa/",
    "127.0.0.1",
    "::1",
    "127.0.0.1:1",
    "10.0.0.0/8",
    "00000000-0000-4000-8000-000000000001",
    "1.0.0",
    "a@a.aa",
    "A",
    "USD",
    "UTC",
    "en",
    "Mon",
    "January",
    "+00:00",
    "/",
    "",
    "#000000",
    "1s",
    "P1D",
    "true",
    "AAAA",
    "0x00",
    "a/a",
];

/// A scalar of serde's data model.
pub(super) trait Scalar: Sized {
    /// Its name in the text of a structure.
    const NAME: &'static str;
    type Sample: Copy + 'static;
    const SAMPLES: &'static [Self::Sample];
    /// The number of the sample that stands for nothing, as zero and the empty string do.
    const EMPTY: usize;

    fn made_up(sample: Self::Sample) -> Self;

    /// Reads it as postcard would read what was written. `None` if postcard could read another
    /// value.
    fn read(replay: &mut Replay) -> Option<Self>;
}

macro_rules! scalars {
    ($replay:ident; $($type:ty: $name:literal, $sample:ty, $samples:ident, $empty:literal, $made:expr,
        $($token:pat => $read:expr),+;)*) => {$(
        impl Scalar for $type {
            const NAME: &'static str = $name;
            type Sample = $sample;
            const SAMPLES: &'static [Self::Sample] = &$samples;
            const EMPTY: usize = $empty;

            fn made_up(sample: Self::Sample) -> Self {
                let made: fn($sample) -> $type = $made;
                made(sample)
            }

            fn read($replay: &mut Replay) -> Option<Self> {
                match $replay.scalar()? {
                    $($token => $read,)+
                    _ => None,
                }
            }
        }
    )*};
}

// Postcard writes the integers of one line alike, whatever their width.
scalars! {
    replay;
    bool: "bool", bool, BOOLS, 1, |b| b, Token::Bool(b) => Some(b);
    u8: "u8", u8, INTEGERS, 1, |n| n, Token::U8(n) => Some(n);
    i8: "i8", u8, INTEGERS, 1, |n| n as i8, Token::I8(n) => Some(n);
    u16: "u16", u8, INTEGERS, 1, u16::from, Token::Unsigned(n) => n.try_into().ok();
    u32: "u32", u8, INTEGERS, 1, u32::from, Token::Unsigned(n) => n.try_into().ok();
    u64: "u64", u8, INTEGERS, 1, u64::from, Token::Unsigned(n) => n.try_into().ok();
    u128: "u128", u8, INTEGERS, 1, u128::from, Token::Unsigned(n) => Some(n);
    i16: "i16", u8, INTEGERS, 1, i16::from, Token::Signed(n) => n.try_into().ok();
    i32: "i32", u8, INTEGERS, 1, i32::from, Token::Signed(n) => n.try_into().ok();
    i64: "i64", u8, INTEGERS, 1, i64::from, Token::Signed(n) => n.try_into().ok();
    i128: "i128", u8, INTEGERS, 1, i128::from, Token::Signed(n) => Some(n);
    f32: "f32", f32, FLOATS, 1, |x| x, Token::F32(x) => Some(x);
    f64: "f64", f32, FLOATS, 1, f64::from, Token::F64(x) => Some(x);
    char: "char", char, CHARS, 3, |c| c, Token::Text(text) => single(&text);
    String: "str", &'static str, STRINGS, 23, str::to_owned, Token::Text(text) => Some(text),
        Token::Bytes(bytes) => String::from_utf8(bytes).ok();
    Vec<u8>: "bytes", &'static [u8], BYTES, 2, <[u8]>::to_vec, Token::Bytes(bytes) => Some(bytes),
        Token::Text(text) => Some(text.into_bytes()), Token::Len(len) => replay.byte_elements(len);
}

fn single(text: &str) -> Option<char> {
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}
