//! An element of a list, not encoded yet.

use super::{Place, listed::write_list};
use crate::codec;

/// An element of a list.
pub struct Element<'l> {
    /// The encoding of its key.
    pub key: &'l [u8],
    pub(super) value: Value<'l>,
}

/// What an element has beside its key.
pub(super) enum Value<'l> {
    Bytes(&'l [u8]),
    Count(u64),
    List {
        payload: &'l [u8],
        places: &'l [Place],
    },
    /// The values of both sides.
    Lists {
        payload: &'l [u8],
        first: &'l [Place],
        second: &'l [Place],
    },
    /// A value of either side.
    Pair(Side<'l>, Side<'l>),
}

/// The value of one side of a join.
pub(super) enum Side<'l> {
    Value(&'l [u8]),
    /// Its key may be missing on this side.
    Optional(Option<&'l [u8]>),
}

impl Element<'_> {
    /// Appends the encoding of what it has beside its key.
    pub fn write_value(&self, out: &mut Vec<u8>) {
        match &self.value {
            Value::Bytes(bytes) => out.extend_from_slice(bytes),
            // A number is always encoded.
            Value::Count(count) => drop(codec::encode_into(count, out)),
            Value::List { payload, places } => write_list(payload, places, out),
            Value::Lists { payload, first, second } => {
                write_list(payload, first, out);
                write_list(payload, second, out);
            }
            Value::Pair(first, second) => {
                first.write(out);
                second.write(out);
            }
        }
    }
}

impl Side<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Value(bytes) => out.extend_from_slice(bytes),
            Self::Optional(bytes) => {
                out.push(u8::from(bytes.is_some()));
                out.extend_from_slice(bytes.unwrap_or_default());
            }
        }
    }
}
