//! The elements of one partition of a join: the rows of two sides, brought together by key.

use bytes::Bytes;
use phalanx_core::{
    operation::OperationError,
    registry::Refusal,
    wire::{Grouping, JoinKind, PartitionBlocks},
};

use super::{
    super::{keys::Keys, rows::Rows},
    listed::{Listed, Numbered, Place, check_size, malformed, write_list},
};

/// The list of the elements of one partition of a join: key by key, in the order of their first rows.
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
            _ => return Err(malformed("this worker does not know how to gather".to_owned())),
        };
        let mut keys = Keys::default();
        let (first, end) = Numbered::read(&mut keys, payload, 0, &partition.blocks)?;
        let (second, _) = Numbered::read(&mut keys, payload, end, &partition.second)?;
        let (first, second) = (Listed::of(keys.len(), &first), Listed::of(keys.len(), &second));
        let mut starts = Vec::with_capacity(keys.len() + 1);
        let mut next = 0_u64;
        for key in 0..keys.len() {
            starts.push(next);
            let (ours, theirs) = (first.group(key).len() as u64, second.group(key).len() as u64);
            next = next.saturating_add(joining.elements(ours, theirs));
        }
        starts.push(next);
        Ok(Self { joining, payload: payload.clone(), keys, first, second, starts })
    }

    /// The number of elements.
    pub(super) fn len(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Adds the element with this number to `rows`, for this batch offset.
    pub(super) fn push(
        &self,
        number: u64,
        offset: u32,
        rows: &mut Rows,
    ) -> Result<(), OperationError> {
        let key = self.starts.partition_point(|start| *start <= number) - 1;
        let place = number - self.starts[key];
        let (first, second) = (self.first.group(key), self.second.group(key));
        let value = |place: &Place| &self.payload[place.0..place.1];
        let optional = |place: Option<&Place>, out: &mut Vec<u8>| {
            out.push(u8::from(place.is_some()));
            out.extend_from_slice(place.map_or(&[][..], value));
        };
        if let Joining::Cogroup = self.joining {
            check_size(&[first, second])?;
        }
        // All values of the second side for each of the first.
        let across = second.len().max(1) as u64;
        let (one, other) =
            (first.get((place / across) as usize), second.get((place % across) as usize));
        rows.push(offset, self.keys.get(key), |out| match self.joining {
            Joining::Join(JoinKind::Left) => {
                out.extend_from_slice(one.map_or(&[][..], value));
                optional(other, out);
            }
            Joining::Join(JoinKind::Full) => {
                optional(one, out);
                optional(other, out);
            }
            Joining::Join(_) => {
                out.extend_from_slice(one.map_or(&[][..], value));
                out.extend_from_slice(other.map_or(&[][..], value));
            }
            Joining::Cogroup => {
                write_list(&self.payload, first, out);
                write_list(&self.payload, second, out);
            }
            Joining::Filter { .. } => {
                out.extend_from_slice(first.get(place as usize).map_or(&[][..], value));
            }
        });
        Ok(())
    }
}

impl Joining {
    /// The number of elements of a key that has so many values on either side.
    fn elements(self, first: u64, second: u64) -> u64 {
        match self {
            Self::Join(JoinKind::Left) => first.saturating_mul(second.max(1)),
            Self::Join(JoinKind::Full) => first.max(1).saturating_mul(second.max(1)),
            Self::Join(_) => first.saturating_mul(second),
            Self::Cogroup => 1,
            Self::Filter { present } => match present == (second > 0) {
                true => first,
                false => 0,
            },
        }
    }
}
