//! Elements as keys and values, encoded.

use phalanx_core::registry::{Column, Refusal};

use super::{Pipeline, pipeline::StepFailure};

/// Elements as keys and values, encoded, with the batch offsets of the elements that they were made
/// from. Key and value of one are neighbours: together they are the encoding of the pair.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    /// The end of each key in `bytes`.
    key_ends: Vec<u32>,
    /// The end of each value in `bytes`.
    ends: Vec<u32>,
    /// Never decreasing.
    offsets: Vec<u32>,
}

impl Rows {
    /// Encodes the outputs of step `step`. Values that do not serialize are left out, and their
    /// elements added to `failures`.
    pub(super) fn encode(
        pipeline: &Pipeline,
        step: usize,
        column: &Column,
        failures: &mut Vec<StepFailure>,
    ) -> Self {
        let mut rows = Self::default();
        let encoder = &pipeline.steps()[step];
        let mut next = 0;
        while next < column.offsets.len() {
            let range = next..column.offsets.len();
            let Self { bytes, key_ends, ends, .. } = &mut rows;
            let encoded = encoder.encode_rows(column, range, bytes, ends, key_ends);
            let (end, failure) = match encoded {
                Ok(()) => (column.offsets.len(), None),
                Err((index, error)) => (next + index, Some(error)),
            };
            rows.offsets.extend_from_slice(&column.offsets[next..end]);
            // Removes the partial encoding of the value that failed.
            rows.truncate(rows.offsets.len());
            if let Some(error) = failure {
                let offset = column.offsets[end];
                failures.push(StepFailure { offset, step: step as u32, error });
            }
            next = end + 1;
        }
        rows
    }

    /// The same rows, each of which is a key as a whole.
    pub(super) fn whole_keys(mut self) -> Self {
        self.key_ends.clone_from(&self.ends);
        self
    }

    pub(super) fn push(&mut self, offset: u32, key: &[u8], value: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend_from_slice(key);
        self.key_ends.push(self.bytes.len() as u32);
        value(&mut self.bytes);
        self.ends.push(self.bytes.len() as u32);
        self.offsets.push(offset);
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// The size of all rows, in bytes.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// The key and the value of a row.
    #[inline]
    pub(super) fn get(&self, row: usize) -> (&[u8], &[u8]) {
        let from = row.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let (key_end, end) = (self.key_ends[row] as usize, self.ends[row] as usize);
        (&self.bytes[from..key_end], &self.bytes[key_end..end])
    }

    /// The key and the value of a row together.
    #[inline]
    pub(super) fn whole(&self, row: usize) -> &[u8] {
        let from = row.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.bytes[from..self.ends[row] as usize]
    }

    /// Removes the rows of the elements at these offsets, which ascend.
    pub(super) fn remove(&mut self, offsets: impl Iterator<Item = u32>) {
        let mut offsets = offsets.peekable();
        if offsets.peek().is_none() {
            return;
        }
        let mut kept = Self::default();
        for row in 0..self.len() {
            let offset = self.offsets[row];
            while offsets.next_if(|removed| *removed < offset).is_some() {}
            if offsets.peek() != Some(&offset) {
                let (key, value) = self.get(row);
                kept.push(offset, key, |out| out.extend_from_slice(value));
            }
        }
        *self = kept;
    }

    /// Decodes the rows as the input of step `step`.
    pub(super) fn decode(&self, pipeline: &Pipeline, step: usize) -> Result<Column, Refusal> {
        let (mut bytes, target) = (&self.bytes[..], &pipeline.steps()[step]);
        let first = self.offsets.first().copied().unwrap_or(0);
        let refused = |reason: String| {
            let (name, offset) = (target.name().to_owned(), first);
            Refusal::Undecodable { name, offset, reason }
        };
        let mut column = target.decode(&mut bytes, first, self.len() as u32, usize::MAX)?;
        if column.offsets.len() != self.len() || !bytes.is_empty() {
            return Err(refused("the number of values differs".to_owned()));
        }
        column.offsets.clone_from(&self.offsets);
        Ok(column)
    }

    fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.key_ends.truncate(rows);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_failed_elements_are_removed() {
        let mut rows = Rows::default();
        for (offset, text) in [(3, "a"), (3, "b"), (4, "c"), (6, "d")] {
            rows.push(offset, text.as_bytes(), |out| out.push(b'!'));
        }
        rows.remove([1, 3, 5].into_iter());
        assert_eq!((rows.offsets(), rows.get(0)), (&[4, 6][..], (&b"c"[..], &b"!"[..])));
        assert_eq!(rows.whole(1), b"d!");
        assert_eq!(rows.whole_keys().get(1), (&b"d!"[..], &b""[..]));
    }
}
