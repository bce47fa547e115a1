//! Data that cannot travel, or that is large.

use phalanx::prelude::*;
use serde::{Serializer, ser::Error as _};

/// A number that does not serialize when it is 13.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Superstitious(pub u64);

impl Serialize for Superstitious {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.0 == 13 {
            return Err(S::Error::custom("there is no 13"));
        }
        serializer.serialize_newtype_struct("Superstitious", &self.0)
    }
}

/// Takes one in.
#[operation]
pub fn take_in(number: Superstitious) -> u64 {
    number.0
}

/// Gives one out.
#[operation]
pub fn give_out(n: u64) -> Superstitious {
    Superstitious(n)
}

/// A number that does not deserialize when it ends in 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choosy(pub u64);

impl<'de> Deserialize<'de> for Choosy {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> std::result::Result<Self, D::Error> {
        match u64::deserialize(input)? {
            n if n % 10 == 3 => Err(serde::de::Error::custom("nothing that ends in 3")),
            n => Ok(Self(n)),
        }
    }
}

/// Takes one in.
#[operation]
pub fn choose(number: Choosy) -> u64 {
    number.0
}

/// Written by postcard with a field left out, it would be read as something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gappy {
    /// Left out when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<u64>,
    /// Would be taken for the remark.
    pub number: u64,
    /// Would be cut.
    pub text: String,
}

impl Gappy {
    /// With the gap if `number` is 13.
    pub fn new(number: u64) -> Self {
        let remark = (number != 13).then_some(7);
        Self { remark, number, text: "\tabcdefghi".to_owned() }
    }
}

/// Takes one in.
#[operation]
pub fn close_gap(gappy: Gappy) -> u64 {
    gappy.number
}

/// Gives one out.
#[operation]
pub fn open_gap(n: u64) -> Gappy {
    Gappy::new(n)
}

/// Has one as its state.
#[operation]
pub fn keep_gap(#[state] gappy: Gappy, n: u64) -> u64 {
    gappy.number + n
}

/// How long it is.
#[operation]
pub fn measure(text: String) -> u64 {
    text.len() as u64
}

/// As long as it is told to be.
#[operation]
pub fn inflate(length: u64) -> String {
    "x".repeat(usize::try_from(length).unwrap_or_default())
}
