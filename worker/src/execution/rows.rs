//! Elements as keys and values, encoded.

use phalanx_core::{
    codec::{Layout, push_frame},
    operation::{ErrorKind, OperationError},
    registry::Column,
};

use super::{Pipeline, pipeline::StepFailure};

/// A part of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Key,
    Value,
    /// Both, as one.
    Whole,
}

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
    /// Encodes the outputs of step `step`. Values that do not serialize are left out: their numbers are
    /// added to `dropped`, and their elements to `failures`.
    pub(super) fn encode(
        pipeline: &Pipeline,
        step: usize,
        column: &Column,
        failures: &mut Vec<StepFailure>,
        dropped: &mut Vec<usize>,
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
                dropped.push(end);
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

    /// One part of each row, as a key without a value.
    pub(super) fn only(&self, part: Part) -> Self {
        let mut parts = Self::default();
        for row in 0..self.len() {
            parts.push(self.offsets[row], self.part(row, part), |_| {});
        }
        parts
    }

    /// The value of each row as its key, and the key as its value.
    pub(super) fn swapped(&self) -> Self {
        let mut swapped = Self::default();
        for row in 0..self.len() {
            let (key, value) = self.get(row);
            swapped.push(self.offsets[row], value, |out| out.extend_from_slice(key));
        }
        swapped
    }

    /// Appends a row in this layout to `out`.
    pub(super) fn write(&self, row: usize, layout: Layout, out: &mut Vec<u8>) {
        let (key, value) = self.get(row);
        match layout {
            Layout::Plain => {}
            Layout::Pairs => push_frame(out, key.len(), value.len()),
            Layout::Whole => push_frame(out, key.len() + value.len(), 0),
        }
        out.extend_from_slice(self.whole(row));
    }

    fn part(&self, row: usize, part: Part) -> &[u8] {
        match part {
            Part::Key => self.get(row).0,
            Part::Value => self.get(row).1,
            Part::Whole => self.whole(row),
        }
    }

    /// Decodes one part of each row as the input of step `step`. If that fails, so do all elements.
    pub(super) fn decode(
        &self,
        pipeline: &Pipeline,
        step: usize,
        part: Part,
        failures: &mut Vec<StepFailure>,
    ) -> Column {
        if self.offsets.is_empty() {
            return Column::empty();
        }
        let parts: Vec<u8>;
        let mut bytes = match part {
            Part::Whole => &self.bytes[..],
            Part::Key | Part::Value => {
                parts = (0..self.len()).flat_map(|row| self.part(row, part)).copied().collect();
                &parts[..]
            }
        };
        let target = &pipeline.steps()[step];
        let decoded = target.decode(&mut bytes, 0, self.len() as u32, usize::MAX);
        let reason = match decoded {
            Ok(mut column) if column.len() == self.len() && bytes.is_empty() => {
                column.offsets.clone_from(&self.offsets);
                return column;
            }
            Ok(_) => "the number of values differs".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        let text = format!("not a valid input of `{}`: {reason}", target.name());
        let error = OperationError::new(ErrorKind::Codec, text);
        failures.extend(self.offsets.iter().map(|offset| StepFailure {
            offset: *offset,
            step: step as u32,
            error: error.clone(),
        }));
        Column::empty()
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
