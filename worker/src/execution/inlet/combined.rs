//! The values of the groups of a partition, combined by the first step of a task.

use phalanx_core::{
    gather::{Keys, Numbered, Place, malformed},
    operation::{ErrorKind, OperationError},
    registry::{Column, CompiledStep, Refusal},
};

use super::{super::Running, wanted::Wanted};

/// The most values that are decoded together.
const CHUNK: usize = 1_024;

/// What became of each group of a partition.
pub(super) struct CombinedGroups {
    bytes: Vec<u8>,
    groups: Vec<Combined>,
}

/// The outcome of combining the values of a group.
#[derive(Clone)]
enum Combined {
    /// The place of the encoding in `bytes`.
    Value(Place),
    Failed(OperationError),
    /// The task does not ask for it, or was stopped before.
    Unwanted,
}

impl CombinedGroups {
    /// Combines the values of each group that the task asks for, with its first step.
    pub(super) fn combine(
        running: &Running,
        payload: &[u8],
        keys: &Keys,
        rows: &Numbered,
        wanted: &Wanted,
    ) -> Result<Self, Refusal> {
        let steps = running.pipeline.steps();
        let Some((step, mut accumulators)) =
            steps.first().and_then(|step| Some((step, step.accumulators()?)))
        else {
            return Err(malformed("the first step combines no values".to_owned()));
        };
        let mut combined =
            Self { bytes: Vec::new(), groups: vec![Combined::Unwanted; keys.count()] };
        // Wanted groups are numbered anew, in the order of their first values.
        let mut numbers = vec![None; keys.count()];
        let mut groups = Vec::new();
        let mut failed = Vec::new();
        // One group after the other if the process may die of one: its leader must learn of which.
        let one_by_one = running.task.header.isolated;
        let mut rows: Vec<(&u32, &Place)> = rows.groups.iter().zip(&rows.values).collect();
        if one_by_one {
            rows.sort_by_key(|(group, _)| **group);
        }
        let mut rows = rows.into_iter().peekable();
        let mut chunk = Chunk::default();
        while rows.peek().is_some() {
            if running.must_discard_chunk(true) {
                // Nothing of what is combined here will count.
                return Ok(combined);
            }
            chunk.clear();
            while let Some((group, place)) = rows.next() {
                let Some(offset) = wanted.offset(*group) else { continue };
                let number = *numbers[*group as usize].get_or_insert_with(|| {
                    groups.push(*group);
                    groups.len() as u32 - 1
                });
                chunk.push(number, offset, &payload[place.0..place.1]);
                let ends_group = rows.peek().is_none_or(|(next, _)| *next != group);
                if chunk.numbers.len() == CHUNK || (one_by_one && ends_group) {
                    break;
                }
            }
            let Some(first) = chunk.offsets.first().copied() else { break };
            if one_by_one {
                running.report_chunk(first);
            }
            let column = chunk.decode(&**step)?;
            running.begin_step(0, first);
            let failures =
                step.combine(&mut accumulators, &chunk.numbers, column, &running.context);
            running.end_step();
            let failures = failures.into_iter();
            failed
                .extend(failures.filter_map(|(at, error)| Some((*chunk.numbers.get(at)?, error))));
        }
        if let (true, Some(first)) = (one_by_one, wanted.first_offset()) {
            // The steps behind begin with the first element.
            running.report_chunk(first);
        }
        for (number, error) in failed {
            combined.groups[groups[number as usize] as usize] = Combined::Failed(error);
        }
        combined.encode(&**step, &step.finish(accumulators), &groups);
        Ok(combined)
    }

    /// The encoding of the combined value of a group.
    ///
    /// # Errors
    /// If the group failed, or was not combined.
    pub(super) fn get(&self, number: u64) -> Result<&[u8], OperationError> {
        match &self.groups[number as usize] {
            Combined::Value((from, to)) => Ok(&self.bytes[*from..*to]),
            Combined::Failed(error) => Err(error.clone()),
            Combined::Unwanted => {
                let text = "an element was gathered whose values were not combined";
                Err(OperationError::new(ErrorKind::Codec, text))
            }
        }
    }

    /// Encodes the combined values. In place of batch offsets, the column has places in `groups`,
    /// which are the numbers of the groups.
    fn encode(&mut self, step: &dyn CompiledStep, column: &Column, groups: &[u32]) {
        let group = |at: usize| groups[column.offsets[at] as usize] as usize;
        let (mut ends, mut next) = (Vec::new(), 0);
        while next < column.len() {
            ends.clear();
            let mut from = self.bytes.len();
            let range = next..column.len();
            let (end, failure) = match step.encode(column, range, &mut self.bytes, Some(&mut ends))
            {
                Ok(()) => (column.len(), None),
                Err((index, error)) => (next + index, Some(error)),
            };
            for (at, to) in (next..end).zip(&ends) {
                self.groups[group(at)] = Combined::Value((from, *to as usize));
                from = *to as usize;
            }
            if let Some(error) = failure {
                self.groups[group(end)] = Combined::Failed(error);
            }
            next = end + 1;
        }
    }
}

/// Values that are combined together.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// The number of the group of each value.
    numbers: Vec<u32>,
    /// The batch offset of the group of each value.
    offsets: Vec<u32>,
}

impl Chunk {
    fn clear(&mut self) {
        self.bytes.clear();
        self.numbers.clear();
        self.offsets.clear();
    }

    fn push(&mut self, number: u32, offset: u32, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.numbers.push(number);
        self.offsets.push(offset);
    }

    fn decode(&self, step: &dyn CompiledStep) -> Result<Column, Refusal> {
        let (mut rest, count) = (&self.bytes[..], self.numbers.len());
        let mut column = step.decode(&mut rest, 0, count as u32, usize::MAX)?;
        if column.len() != count || !rest.is_empty() {
            return Err(malformed("the values of a block do not decode one by one".to_owned()));
        }
        column.offsets.clone_from(&self.offsets);
        Ok(column)
    }
}
