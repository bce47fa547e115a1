//! Elements as keys and values, encoded.

use std::ops::Range;

use phalanx_core::{
    codec::{Encodings, Layout, push_frame},
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
    encodings: Encodings,
    /// Never decreasing.
    offsets: Vec<u32>,
}

impl Rows {
    /// Encodes the outputs of step `step`. Values that do not serialize are left out: their numbers
    /// are added to `dropped`, and their elements to `failures`.
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
            let (end, failure) = match encoder.encode_rows(column, range, &mut rows.encodings) {
                Ok(()) => (column.offsets.len(), None),
                Err((index, error)) => (next + index, Some(error)),
            };
            rows.offsets.extend_from_slice(&column.offsets[next..end]);
            // Removes the partial encoding of the value that failed.
            rows.encodings.truncate(rows.offsets.len());
            if let Some(error) = failure {
                let offset = column.offsets[end];
                dropped.push(end);
                failures.push(StepFailure { offset, step: step as u32, error });
            }
            next = end + 1;
        }
        rows
    }

    /// Outputs that were encoded as they were made, with the offset of each.
    pub(super) fn encoded((encodings, offsets): (Encodings, Vec<u32>)) -> Self {
        Self { encodings, offsets }
    }

    /// The same rows, each of which is a key as a whole.
    pub(super) fn whole_keys(mut self) -> Self {
        self.encodings.key_ends.clone_from(&self.encodings.ends);
        self
    }

    /// Whether a row of this size can be added: places are 32-bit numbers.
    pub(super) fn has_room(&self, size: usize) -> bool {
        self.size() + size <= u32::MAX as usize
    }

    pub(super) fn push(&mut self, offset: u32, key: &[u8], value: impl FnOnce(&mut Vec<u8>)) {
        let Encodings { bytes, key_ends, ends } = &mut self.encodings;
        bytes.extend_from_slice(key);
        key_ends.push(bytes.len() as u32);
        value(bytes);
        ends.push(bytes.len() as u32);
        self.offsets.push(offset);
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// The size of all rows, in bytes.
    pub(super) fn size(&self) -> usize {
        self.encodings.bytes.len()
    }

    /// The size of these rows, in bytes.
    pub(super) fn size_of(&self, rows: &Range<usize>) -> usize {
        let end =
            |row: usize| row.checked_sub(1).map_or(0, |last| self.encodings.ends[last] as usize);
        end(rows.end) - end(rows.start)
    }

    pub(super) fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// The key and the value of a row.
    #[inline]
    pub(super) fn get(&self, row: usize) -> (&[u8], &[u8]) {
        let Encodings { bytes, key_ends, ends } = &self.encodings;
        let from = row.checked_sub(1).map_or(0, |before| ends[before] as usize);
        let (key_end, end) = (key_ends[row] as usize, ends[row] as usize);
        (&bytes[from..key_end], &bytes[key_end..end])
    }

    /// The key and the value of a row together.
    #[inline]
    pub(super) fn whole(&self, row: usize) -> &[u8] {
        let Encodings { bytes, ends, .. } = &self.encodings;
        let from = row.checked_sub(1).map_or(0, |before| ends[before] as usize);
        &bytes[from..ends[row] as usize]
    }

    /// Removes the rows of the elements at these offsets, which ascend.
    pub(super) fn remove(&mut self, offsets: impl Iterator<Item = u32>) {
        let mut offsets = offsets.peekable();
        if offsets.peek().is_none() {
            return;
        }
        self.retain(|offset, _| {
            while offsets.next_if(|removed| *removed < offset).is_some() {}
            offsets.peek() != Some(&offset)
        });
    }

    /// Keeps the rows for which this returns `true`, by their offset and encoding, in order.
    pub(super) fn retain(&mut self, mut keeps: impl FnMut(u32, &[u8]) -> bool) {
        let mut kept = Self::default();
        for row in 0..self.len() {
            let offset = self.offsets[row];
            if keeps(offset, self.whole(row)) {
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
            Part::Whole => &self.encodings.bytes[..],
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
