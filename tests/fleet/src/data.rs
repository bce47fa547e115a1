//! Data that fails to serialize or deserialize, or is large.

use phalanx::prelude::*;
use serde::{Serializer, ser::Error as _};

/// A number that fails to serialize if it is 13.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NotThirteen(pub u64);

impl Serialize for NotThirteen {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.0 == 13 {
            return Err(S::Error::custom("13 does not serialize"));
        }
        serializer.serialize_newtype_struct("NotThirteen", &self.0)
    }
}

/// Takes one as its input.
#[operation]
pub fn take_in(number: NotThirteen) -> u64 {
    number.0
}

/// Returns one as its output.
#[operation]
pub fn give_out(n: u64) -> NotThirteen {
    NotThirteen(n)
}

/// A number that fails to deserialize if it ends in 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotEndingInThree(pub u64);

impl<'de> Deserialize<'de> for NotEndingInThree {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> std::result::Result<Self, D::Error> {
        match u64::deserialize(input)? {
            n if n % 10 == 3 => Err(serde::de::Error::custom("the number ends in 3")),
            n => Ok(Self(n)),
        }
    }
}

/// Takes one as its input.
#[operation]
pub fn choose(number: NotEndingInThree) -> u64 {
    number.0
}

/// A type with a field that serde may skip. Postcard would decode the remaining bytes as the wrong
/// fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipping {
    /// Skipped when it is 1313, which no made-up value is: a type whose field is skipped for a
    /// value that is tried when the program is planned is refused then.
    #[serde(skip_serializing_if = "is_1313")]
    pub remark: u64,
    /// Would be decoded as the remark.
    pub number: u64,
    /// Would lose its beginning.
    pub text: String,
}

fn is_1313(remark: &u64) -> bool {
    *remark == 1313
}

impl Skipping {
    /// With a remark that is skipped if `number` is 13.
    pub fn new(number: u64) -> Self {
        let remark = if number == 13 { 1313 } else { 7 };
        Self { remark, number, text: "\tabcdefghi".to_owned() }
    }
}

/// Takes one as its input.
#[operation]
pub fn take_skipping(skipping: Skipping) -> u64 {
    skipping.number
}

/// Returns one as its output.
#[operation]
pub fn give_skipping(n: u64) -> Skipping {
    Skipping::new(n)
}

/// Has one as its state.
#[operation]
pub fn keep_skipping(#[state] skipping: &Skipping, n: u64) -> u64 {
    skipping.number + n
}

/// Pairs a number with 100 KiB of data.
#[operation]
pub fn heavy(n: u64) -> (u64, Vec<u8>) {
    (n, vec![n as u8; 100 << 10])
}

/// The key of a group that has one value of [`heavy`], undamaged.
#[operation]
pub fn weigh_all((key, values): (u64, Vec<Vec<u8>>)) -> Result<u64> {
    let right =
        |value: &Vec<u8>| value.len() == 100 << 10 && value.iter().all(|it| *it == key as u8);
    match &values[..] {
        [value] if right(value) => Ok(key),
        _ => Err(OperationError::fatal("the group is damaged")),
    }
}

/// Pairs a number with a kilobyte of data.
#[operation]
pub fn weighty(n: u64) -> (u64, Vec<u8>) {
    (n, vec![n as u8; 1_000])
}

/// The key of a group.
#[operation]
pub fn key_of((key, _): (u64, Vec<Vec<u8>>)) -> u64 {
    key
}

/// Returns the length of a text.
#[operation]
pub fn measure(text: String) -> u64 {
    text.len() as u64
}

/// Returns a text of this length.
#[operation]
pub fn inflate(length: u64) -> String {
    "x".repeat(usize::try_from(length).unwrap_or_default())
}
