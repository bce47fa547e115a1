//! Rows of blocks, sorted by the groups of their keys.

use bytes::Bytes;

use super::Keys;
use crate::{
    codec,
    operation::{ErrorKind, OperationError},
    registry::Refusal,
    wire::Block,
};

/// The most bytes of the values of one element.
const MAX_ELEMENT: usize = 1 << 30;

/// The place of a value in the payload.
pub type Place = (usize, usize);

/// The rows of blocks, in order: the number of the key of each, and the place of its value.
pub struct Numbered {
    pub groups: Vec<u32>,
    pub values: Vec<Place>,
}

impl Numbered {
    /// Numbers the keys of blocks with these lengths, which lie in the payload one after the other,
    /// from `from` on. Returns where they end, too.
    pub(super) fn read(
        keys: &mut Keys,
        payload: &Bytes,
        mut from: usize,
        lengths: &[u32],
    ) -> Result<(Self, usize), Refusal> {
        let (mut groups, mut values) = (Vec::new(), Vec::new());
        for length in lengths {
            let to = from + *length as usize;
            let block = block(payload, from, to)?;
            groups.reserve(block.rows());
            values.reserve(block.rows());
            // The values are the end of their block.
            let mut at = to - block.values();
            keys.number_all(block.iter().map(|(key, _)| key), &mut groups);
            for (_, value) in block.iter() {
                values.push((at, at + value.len()));
                at += value.len();
            }
            from = to;
        }
        Ok((Self { groups, values }, from))
    }
}

/// A block in the payload.
pub(super) fn block(payload: &[u8], from: usize, to: usize) -> Result<Block<'_>, Refusal> {
    // The decoder of the task has checked the sum of all lengths.
    let bytes = payload.get(from..to).unwrap_or_default();
    Block::read(bytes).map_err(|error| malformed(error.to_string()))
}

pub fn malformed(reason: String) -> Refusal {
    Refusal::Message { reason }
}

/// The places of all values, group by group, each group in order.
pub(super) struct Listed {
    /// The number of the first value of each group, and one past the last of all.
    starts: Vec<usize>,
    places: Vec<Place>,
}

impl Listed {
    /// Sorts rows by the `count` groups of their keys.
    pub(super) fn of(count: usize, rows: &Numbered) -> Self {
        let mut starts = vec![0_usize; count + 1];
        for group in &rows.groups {
            starts[*group as usize + 1] += 1;
        }
        for group in 1..starts.len() {
            starts[group] += starts[group - 1];
        }
        let (mut next, mut places) = (starts.clone(), vec![(0, 0); rows.values.len()]);
        for (group, value) in rows.groups.iter().zip(&rows.values) {
            let next = &mut next[*group as usize];
            places[*next] = *value;
            *next += 1;
        }
        Self { starts, places }
    }

    /// The places of the values of a group, in order.
    pub(super) fn group(&self, number: usize) -> &[Place] {
        &self.places[self.starts[number]..self.starts[number + 1]]
    }
}

/// Refuses to make an element of that much.
pub(super) fn check_size(lists: &[&[Place]]) -> Result<(), OperationError> {
    let places = || lists.iter().flat_map(|list| list.iter());
    let size: usize = places().map(|(from, to)| to - from).sum();
    if size <= MAX_ELEMENT {
        return Ok(());
    }
    let text = format!(
        "the {} values of one key have {size} bytes, and the limit is {MAX_ELEMENT}; combine them \
         (`reduce_by_key`)",
        places().count()
    );
    Err(OperationError::new(ErrorKind::TooLarge, text))
}

/// Writes the list of these values, as a `Vec` of them is encoded.
pub(super) fn write_list(payload: &[u8], places: &[Place], out: &mut Vec<u8>) {
    // A number is always encoded.
    let _ = codec::encode_into(&places.len(), out);
    places.iter().for_each(|(from, to)| out.extend_from_slice(&payload[*from..*to]));
}
