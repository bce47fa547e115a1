//! The elements of one partition that are told apart as a whole: different ones, those that two
//! sides have in common, or those that one lacks.

use bytes::Bytes;

use super::{
    Element, Keys,
    element::Value,
    hash,
    listed::{block, malformed},
};
use crate::{
    registry::Refusal,
    wire::{Grouping, PartitionBlocks},
};

/// The list of the elements of one partition: rows, in the order in which the first side met them
/// first.
pub(super) struct WholeRows {
    /// The different rows.
    rows: Keys,
    /// Where the own key of each ends.
    key_ends: Vec<usize>,
    /// The number of the row of each element; `None` if these are the elements.
    elements: Option<Vec<u32>>,
}

impl WholeRows {
    /// Tells the rows of a partition apart.
    pub(super) fn new(
        grouping: Grouping,
        payload: &Bytes,
        partition: &PartitionBlocks,
    ) -> Result<Self, Refusal> {
        let mut list = Self { rows: Keys::default(), key_ends: Vec::new(), elements: None };
        let mut counts = Vec::<u32>::new();
        let end = list.read(payload, 0, &partition.blocks, |row| {
            counts.resize(counts.len().max(row + 1), 0);
            counts[row] = counts[row].saturating_add(1);
        })?;
        let of_first = list.key_ends.len();
        let mut in_second = vec![false; of_first];
        list.read(payload, end, &partition.second, |row| {
            if let Some(found) = in_second.get_mut(row) {
                *found = true;
            }
        })?;
        let kept = |wanted: bool| (0..).zip(&in_second).filter(move |(_, found)| **found == wanted);
        list.elements = match grouping {
            Grouping::Distinct => None,
            Grouping::Intersection => Some(kept(true).map(|(row, _)| row).collect()),
            Grouping::Subtract => {
                let copies = |row: u32| std::iter::repeat_n(row, counts[row as usize] as usize);
                Some(kept(false).flat_map(|(row, _)| copies(row)).collect())
            }
            _ => return Err(malformed("this worker does not know how to gather".to_owned())),
        };
        Ok(list)
    }

    /// Numbers the rows of blocks with these lengths, which lie in the payload from `from` on, and
    /// calls `met` with the number of each. Returns where they end.
    fn read(
        &mut self,
        payload: &Bytes,
        mut from: usize,
        lengths: &[u32],
        mut met: impl FnMut(usize),
    ) -> Result<usize, Refusal> {
        let mut row = Vec::new();
        for length in lengths {
            let to = from + *length as usize;
            for (key, value) in block(payload, from, to)?.iter() {
                row.clear();
                row.extend_from_slice(key);
                row.extend_from_slice(value);
                let number = self.rows.number(&row, hash(&row)) as usize;
                if number == self.key_ends.len() {
                    self.key_ends.push(key.len());
                }
                met(number);
            }
            from = to;
        }
        Ok(from)
    }

    /// The number of elements.
    pub(super) fn elements(&self) -> u64 {
        self.elements.as_ref().map_or(self.rows.count(), Vec::len) as u64
    }

    /// The encoding of the element with this number.
    pub(super) fn row(&self, number: u64) -> &[u8] {
        self.rows.get(self.number(number))
    }

    /// The element with this number.
    pub(super) fn element(&self, number: u64) -> Element<'_> {
        let row = self.number(number);
        let (key, value) = self.rows.get(row).split_at(self.key_ends[row]);
        Element { key, value: Value::Bytes(value) }
    }

    /// The number of the row of an element.
    fn number(&self, element: u64) -> usize {
        match &self.elements {
            Some(elements) => elements[element as usize] as usize,
            None => element as usize,
        }
    }
}
