//! The list of the elements of one partition.

use std::sync::OnceLock;

use bytes::Bytes;

use super::{
    Element, Keys, Numbered,
    element::Value,
    joined::Joined,
    listed::{Listed, check_size, malformed},
    whole::WholeRows,
};
use crate::{
    codec,
    operation::{ErrorKind, OperationError},
    registry::Refusal,
    wire::{Grouping, PartitionBlocks},
};

/// The list of the elements of one partition: for each key a group, in the order of their first
/// rows (rule 33).
pub struct List(Gathered);

enum Gathered {
    /// One for each key.
    Groups { keys: Keys, values: GroupValues },
    /// Any number for each key of two sides.
    Joined(Joined),
    /// Rows that are told apart as a whole.
    Whole(WholeRows),
}

/// What an element has beside its key.
enum GroupValues {
    /// A number.
    Counts(Vec<u64>),
    /// All values.
    Listed { payload: Bytes, listed: Listed },
    /// The values that an operation is still to combine.
    Uncombined { payload: Bytes, rows: Numbered, listed: OnceLock<Listed> },
}

impl List {
    /// Brings the rows of a partition together. The payload has its blocks.
    ///
    /// # Errors
    /// If the blocks contradict themselves, or this build does not know the grouping.
    pub fn gather(
        grouping: Grouping,
        payload: &Bytes,
        partition: &PartitionBlocks,
    ) -> Result<Self, Refusal> {
        match grouping {
            Grouping::Distinct | Grouping::Intersection | Grouping::Subtract => {
                let rows = WholeRows::new(grouping, payload, partition)?;
                return Ok(Self(Gathered::Whole(rows)));
            }
            Grouping::Count | Grouping::Group | Grouping::Combine => {}
            _ => return Ok(Self(Gathered::Joined(Joined::new(grouping, payload, partition)?))),
        }
        let mut keys = Keys::default();
        let (rows, _) = Numbered::read(&mut keys, payload, 0, &partition.blocks)?;
        let values = match grouping {
            Grouping::Count => GroupValues::Counts(count(payload, &keys, &rows)?),
            Grouping::Group => GroupValues::Listed {
                payload: payload.clone(),
                listed: Listed::of(keys.count(), &rows),
            },
            _ => GroupValues::Uncombined {
                payload: payload.clone(),
                rows,
                listed: OnceLock::default(),
            },
        };
        Ok(Self(Gathered::Groups { keys, values }))
    }

    /// The number of elements.
    pub fn elements(&self) -> u64 {
        match &self.0 {
            Gathered::Groups { keys, .. } => keys.count() as u64,
            Gathered::Joined(joined) => joined.elements(),
            Gathered::Whole(rows) => rows.elements(),
        }
    }

    /// What the element with this number is named by: the encoding of its key, or of all of it if
    /// the whole element is the key. `None` if the list is shorter.
    pub fn key(&self, number: u64) -> Option<&[u8]> {
        (number < self.elements()).then(|| match &self.0 {
            Gathered::Groups { keys, .. } => keys.get(number as usize),
            Gathered::Joined(joined) => joined.key(number),
            Gathered::Whole(rows) => rows.row(number),
        })
    }

    /// The element with this number, which is less than [`elements`](Self::elements).
    ///
    /// # Errors
    /// If its values are too large together, or must be combined first.
    pub fn element(&self, number: u64) -> Result<Element<'_>, OperationError> {
        let (keys, values) = match &self.0 {
            Gathered::Groups { keys, values } => (keys, values),
            Gathered::Joined(joined) => return joined.element(number),
            Gathered::Whole(rows) => return Ok(rows.element(number)),
        };
        let number = number as usize;
        let key = keys.get(number);
        Ok(match values {
            GroupValues::Counts(counts) => Element { key, value: Value::Count(counts[number]) },
            GroupValues::Listed { payload, listed } => {
                let places = listed.group(number);
                check_size(&[places])?;
                Element { key, value: Value::List { payload, places } }
            }
            GroupValues::Uncombined { .. } => {
                let text = "the values of a key were not combined";
                return Err(OperationError::new(ErrorKind::Codec, text));
            }
        })
    }

    /// The keys and the rows whose values are still to be combined, if there are such.
    pub fn uncombined(&self) -> Option<(&Keys, &Numbered)> {
        match &self.0 {
            Gathered::Groups { keys, values: GroupValues::Uncombined { rows, .. } } => {
                Some((keys, rows))
            }
            _ => None,
        }
    }

    /// The values of the group with this number that are still to be combined, in order; `None` if
    /// they are not, or there is no such group.
    pub fn values(&self, number: u64) -> Option<impl Iterator<Item = &[u8]> + Clone> {
        let Gathered::Groups { keys, values: GroupValues::Uncombined { payload, rows, listed } } =
            &self.0
        else {
            return None;
        };
        let number = usize::try_from(number).ok().filter(|number| *number < keys.count())?;
        let listed = listed.get_or_init(|| Listed::of(keys.count(), rows));
        Some(listed.group(number).iter().map(|(from, to)| &payload[*from..*to]))
    }
}

/// Sums up the counts of each group.
fn count(payload: &[u8], keys: &Keys, rows: &Numbered) -> Result<Vec<u64>, Refusal> {
    let mut counts = vec![0_u64; keys.count()];
    for (group, (from, to)) in rows.groups.iter().zip(&rows.values) {
        let count: u64 = codec::decode(&payload[*from..*to])
            .map_err(|error| malformed(format!("a count does not decode: {error}")))?;
        let sum = &mut counts[*group as usize];
        *sum = sum.saturating_add(count);
    }
    Ok(counts)
}
