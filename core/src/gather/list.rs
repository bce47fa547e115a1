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
    codec::{self, Layout, push_frame},
    operation::{ErrorKind, KeyPrefix, OperationError},
    registry::Refusal,
    wire::{GatheredElement, Grouping, ListEnd, MAX_GATHERED_ELEMENT, PartitionBlocks},
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
        if grouping.is_whole() {
            let rows = WholeRows::new(grouping, payload, partition)?;
            return Ok(Self(Gathered::Whole(rows)));
        }
        match grouping {
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

impl List {
    /// The element with this number as it is kept in a dead letter: in the layout in which its
    /// first step reads it, with its length; or the values of its key that this step combines, each
    /// in a pair with the key. `None` if the list is shorter, or it is too large.
    pub(crate) fn encodings(&self, number: u64, layout: Layout) -> Option<(Bytes, Vec<u32>)> {
        let (key, mut payload) = (self.key(number)?, Vec::new());
        let Some(values) = self.values(number) else {
            let element = self.element(number).ok()?;
            let mut value = Vec::new();
            element.write_value(&mut value);
            match layout {
                Layout::Plain => {}
                Layout::Pairs => push_frame(&mut payload, element.key.len(), value.len()),
                Layout::Whole => push_frame(&mut payload, element.key.len() + value.len(), 0),
            }
            payload.extend_from_slice(element.key);
            payload.append(&mut value);
            let length = u32::try_from(payload.len()).ok()?;
            return Some((Bytes::from(payload), vec![length]));
        };
        let mut lengths = Vec::new();
        for value in values {
            let before = payload.len();
            push_frame(&mut payload, key.len(), value.len());
            payload.extend_from_slice(key);
            payload.extend_from_slice(value);
            lengths.push((payload.len() - before) as u32);
        }
        Some((Bytes::from(payload), lengths))
    }

    /// What is reported to a leader about the element with this number, which is in this list or
    /// a part of it; `None` if there is none.
    pub fn report(&self, list: ListEnd, number: u64, layout: Layout) -> Option<GatheredElement> {
        let key = KeyPrefix::of(self.key(number)?);
        let encodings = self.encodings(number, layout);
        let encodings = encodings.filter(|(bytes, _)| bytes.len() <= MAX_GATHERED_ELEMENT);
        let (encodings, lengths) = encodings.unzip();
        Some(GatheredElement { list, key, encodings, lengths: lengths.unwrap_or_default() })
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
