//! The elements of one partition, as a worker makes them: with the values of each key combined, if the
//! task begins with that.

use bytes::Bytes;
use phalanx_core::{
    gather::{Keys, List, Numbered, malformed},
    operation::{ErrorKind, OperationError},
    registry::Refusal,
    wire::{Grouping, PartitionBlocks},
};

use super::super::{Running, rows::Rows};

/// The most values that are decoded together.
const CHUNK: usize = 1_024;

/// The elements of one partition.
pub(super) struct Gathered {
    list: List,
    /// What became of each group, if the first step combines their values.
    combined: Option<CombinedGroups>,
}

struct CombinedGroups {
    bytes: Vec<u8>,
    groups: Vec<Combined>,
}

/// The outcome of combining the values of a group.
enum Combined {
    /// The place of the encoding in `bytes`.
    Value(usize, usize),
    Failed(OperationError),
    /// The task does not ask for it.
    Unwanted,
}

impl Gathered {
    /// Brings the rows of a partition together, and calls `listed` with the number of elements before
    /// any code of the user runs; it returns which of them the task asks for.
    pub(super) fn new(
        running: &Running,
        grouping: Grouping,
        payload: &Bytes,
        partition: &PartitionBlocks,
        listed: impl FnOnce(u64) -> Wanted,
    ) -> Result<Self, Refusal> {
        let list = List::gather(grouping, payload, partition)?;
        let wanted = listed(list.elements());
        let combined = match list.uncombined() {
            Some((keys, rows)) => Some(combine(running, payload, keys, rows, &wanted)?),
            None => None,
        };
        Ok(Self { list, combined })
    }

    /// Adds the element with this number to `rows`, for this batch offset.
    pub(super) fn push(
        &self,
        number: u64,
        offset: u32,
        rows: &mut Rows,
    ) -> Result<(), OperationError> {
        let Some(CombinedGroups { bytes, groups }) = &self.combined else {
            let element = self.list.element(number)?;
            rows.push(offset, element.key, |out| element.write_value(out));
            return Ok(());
        };
        match &groups[number as usize] {
            Combined::Value(from, to) => {
                let key = self.list.key(number).unwrap_or_default();
                rows.push(offset, key, |out| out.extend_from_slice(&bytes[*from..*to]));
                Ok(())
            }
            Combined::Failed(error) => Err(error.clone()),
            Combined::Unwanted => {
                let text = "an element was gathered that the task does not ask for";
                Err(OperationError::new(ErrorKind::Codec, text))
            }
        }
    }
}

/// The elements of a list that a task asks for.
pub(super) struct Wanted {
    /// The numbers of these elements, and the batch offset of the first of each range.
    pub(super) ranges: Vec<(std::ops::Range<u64>, u32)>,
}

impl Wanted {
    /// The batch offset of the element with this number, if the task asks for it.
    fn offset(&self, number: u32) -> Option<u32> {
        let number = u64::from(number);
        let (range, first) = self.ranges.iter().find(|(range, _)| range.contains(&number))?;
        Some(first + (number - range.start) as u32)
    }
}

/// Combines the values of each group that the task asks for, with its first step.
fn combine(
    running: &Running,
    payload: &[u8],
    keys: &Keys,
    rows: &Numbered,
    wanted: &Wanted,
) -> Result<CombinedGroups, Refusal> {
    let steps = running.pipeline.steps();
    let Some((step, mut accumulators)) =
        steps.first().and_then(|step| Some((step, step.accumulators()?)))
    else {
        return Err(malformed("the first step combines no values".to_owned()));
    };
    // Wanted groups are numbered anew, in the order of their first values.
    let mut dense = vec![None; keys.count()];
    let mut wanted_groups = Vec::new();
    let mut failed: Vec<(u32, OperationError)> = Vec::new();
    let (mut bytes, mut chunk, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
    let mut in_order: Vec<_> = rows.groups.iter().zip(&rows.values).collect();
    // One group after the other if the process may die of one: its leader must learn of which.
    let one_by_one = running.task.header.isolated;
    if one_by_one {
        in_order.sort_by_key(|(group, _)| **group);
    }
    let mut rows = in_order.into_iter().peekable();
    while rows.peek().is_some() {
        bytes.clear();
        chunk.clear();
        offsets.clear();
        while let Some((group, (from, to))) = rows.next() {
            let Some(offset) = wanted.offset(*group) else { continue };
            let number = *dense[*group as usize].get_or_insert_with(|| {
                wanted_groups.push(*group);
                wanted_groups.len() as u32 - 1
            });
            bytes.extend_from_slice(&payload[*from..*to]);
            chunk.push(number);
            offsets.push(offset);
            let ends_group = rows.peek().is_none_or(|(next, _)| *next != group);
            if chunk.len() == CHUNK || (one_by_one && ends_group) {
                break;
            }
        }
        if chunk.is_empty() {
            break;
        }
        if one_by_one {
            running.report_chunk(offsets[0]);
        }
        let mut rest = &bytes[..];
        let mut column = step.decode(&mut rest, 0, chunk.len() as u32, usize::MAX)?;
        if column.len() != chunk.len() || !rest.is_empty() {
            return Err(malformed("the values of a block do not decode one by one".to_owned()));
        }
        column.offsets.clone_from(&offsets);
        running.begin_step(0, offsets[0]);
        let failures = step.combine(&mut accumulators, &chunk, column, &running.context);
        running.end_step();
        failed
            .extend(failures.into_iter().filter_map(|(at, error)| Some((*chunk.get(at)?, error))));
    }
    if let (true, Some((_, first))) = (one_by_one, wanted.ranges.first()) {
        // The steps behind begin with the first element.
        running.report_chunk(*first);
    }
    let column = step.finish(accumulators);
    let mut outcomes: Vec<Combined> = keys_without(keys.count());
    for (number, error) in failed {
        outcomes[wanted_groups[number as usize] as usize] = Combined::Failed(error);
    }
    let (mut encoded, mut ends, mut next) = (Vec::new(), Vec::new(), 0);
    while next < column.len() {
        ends.clear();
        let from = encoded.len();
        let range = next..column.len();
        let (end, failure) = match step.encode(&column, range, &mut encoded, Some(&mut ends)) {
            Ok(()) => (column.len(), None),
            Err((index, error)) => (next + index, Some(error)),
        };
        let mut start = from;
        for (at, end) in (next..end).zip(&ends) {
            let group = wanted_groups[column.offsets[at] as usize];
            outcomes[group as usize] = Combined::Value(start, *end as usize);
            start = *end as usize;
        }
        if let Some(error) = failure {
            let group = wanted_groups[column.offsets[end] as usize];
            outcomes[group as usize] = Combined::Failed(error);
        }
        next = end + 1;
    }
    Ok(CombinedGroups { bytes: encoded, groups: outcomes })
}

fn keys_without(count: usize) -> Vec<Combined> {
    std::iter::repeat_with(|| Combined::Unwanted).take(count).collect()
}
