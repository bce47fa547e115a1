//! The elements of one partition of a join: the rows of two sides, brought together by key.

use bytes::Bytes;

use super::{
    Element, Keys, Numbered,
    element::{Side, Value},
    listed::{Listed, check_size, malformed},
};
use crate::{
    operation::OperationError,
    registry::Refusal,
    wire::{Grouping, JoinKind, PartitionBlocks},
};

/// The list of the elements of one partition of a join: key by key, in the order of their first
/// rows.
pub(super) struct Joined {
    joining: Joining,
    payload: Bytes,
    keys: Keys,
    first: Listed,
    second: Listed,
    /// The number of the first element of each key, and one past the last of all.
    starts: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Joining {
    Join(JoinKind),
    Cogroup,
    Filter { present: bool },
    Zip,
}

impl Joined {
    /// Brings the rows of a partition together.
    pub(super) fn new(
        grouping: Grouping,
        payload: &Bytes,
        partition: &PartitionBlocks,
    ) -> Result<Self, Refusal> {
        let joining = match grouping {
            Grouping::Join(kind) => Joining::Join(kind),
            Grouping::Cogroup => Joining::Cogroup,
            Grouping::Filter { present } => Joining::Filter { present },
            Grouping::Zip => Joining::Zip,
            _ => return Err(malformed("this worker does not know how to gather".to_owned())),
        };
        let mut keys = Keys::default();
        let (first, end) = Numbered::read(&mut keys, payload, 0, &partition.blocks)?;
        let (second, _) = Numbered::read(&mut keys, payload, end, &partition.second)?;
        let (first, second) = (Listed::of(keys.count(), &first), Listed::of(keys.count(), &second));
        let mut starts = Vec::with_capacity(keys.count() + 1);
        let mut next = 0_u64;
        for key in 0..keys.count() {
            starts.push(next);
            let (ours, theirs) = (first.group(key).len() as u64, second.group(key).len() as u64);
            next = next.saturating_add(joining.elements(ours, theirs));
        }
        starts.push(next);
        Ok(Self { joining, payload: payload.clone(), keys, first, second, starts })
    }

    /// The number of elements.
    pub(super) fn elements(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The key of the element with this number, and the number of the element among those of the
    /// key.
    fn place(&self, number: u64) -> (usize, u64) {
        let key = self.starts.partition_point(|start| *start <= number).saturating_sub(1);
        (key, number - self.starts[key])
    }

    /// The key of the element with this number.
    pub(super) fn key(&self, number: u64) -> &[u8] {
        self.keys.get(self.place(number).0)
    }

    /// The element with this number.
    pub(super) fn element(&self, number: u64) -> Result<Element<'_>, OperationError> {
        let (key, place) = self.place(number);
        let (first, second) = (self.first.group(key), self.second.group(key));
        let value = |list: &[(usize, usize)], place: u64| {
            let (from, to) = list.get(usize::try_from(place).ok()?)?;
            Some(&self.payload[*from..*to])
        };
        // All values of the second side for each of the first.
        let across = second.len().max(1) as u64;
        let (one, other) = (value(first, place / across), value(second, place % across));
        let always = |value: Option<_>| Side::Value(value.unwrap_or_default());
        let value = match self.joining {
            Joining::Join(JoinKind::Left) => Value::Pair(always(one), Side::Optional(other)),
            Joining::Join(JoinKind::Full) => {
                Value::Pair(Side::Optional(one), Side::Optional(other))
            }
            Joining::Join(_) => Value::Pair(always(one), always(other)),
            Joining::Cogroup => {
                check_size(&[first, second])?;
                Value::Lists { payload: &self.payload, first, second }
            }
            Joining::Filter { .. } => Value::Bytes(value(first, place).unwrap_or_default()),
            Joining::Zip => {
                let value = Value::Bytes(other.unwrap_or_default());
                return Ok(Element { key: one.unwrap_or_default(), value });
            }
        };
        Ok(Element { key: self.keys.get(key), value })
    }
}

impl Joining {
    /// The number of elements of a key that has so many values on either side.
    fn elements(self, first: u64, second: u64) -> u64 {
        match self {
            Self::Join(JoinKind::Left) => first.saturating_mul(second.max(1)),
            Self::Join(JoinKind::Full) => first.max(1).saturating_mul(second.max(1)),
            Self::Join(_) | Self::Zip => first.saturating_mul(second),
            Self::Cogroup => 1,
            Self::Filter { present } => match present == (second > 0) {
                true => first,
                false => 0,
            },
        }
    }
}
