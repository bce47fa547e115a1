//! The elements of one partition: its rows, brought together by key.

use bytes::Bytes;
use phalanx_core::{
    codec,
    operation::{ErrorKind, OperationError},
    registry::Refusal,
    wire::{Grouping, PartitionBlocks},
};

use super::{
    super::{
        Running,
        keys::{Keys, hash},
        rows::Rows,
    },
    joined::Joined,
    listed::{Listed, Numbered, block, check_size, malformed, write_list},
};

/// The most values that are decoded together.
const CHUNK: usize = 1_024;

/// The list of the elements of one partition: for each key a group, in the order of their first rows
/// (rule 33).
pub(super) enum Gathered {
    /// One for each key.
    Groups { keys: Keys, values: GroupValues },
    /// Any number for each key of two sides.
    Joined(Joined),
}

/// What an element has beside its key.
pub(super) enum GroupValues {
    /// Nothing: the key is the row, whose own key ends here.
    Rows(Vec<usize>),
    /// A number.
    Counts(Vec<u64>),
    /// All values.
    Listed { payload: Bytes, listed: Listed },
    /// The combined value, or the error of the group.
    Combined { bytes: Vec<u8>, groups: Vec<Combined> },
}

/// The outcome of combining the values of a group.
pub(super) enum Combined {
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
        if grouping == Grouping::Distinct {
            let (keys, key_ends) = distinct(payload, &partition.blocks)?;
            listed(keys.len() as u64);
            return Ok(Self::Groups { keys, values: GroupValues::Rows(key_ends) });
        }
        if !matches!(grouping, Grouping::Count | Grouping::Group | Grouping::Combine) {
            let joined = Joined::new(grouping, payload, partition)?;
            listed(joined.len());
            return Ok(Self::Joined(joined));
        }
        let mut keys = Keys::default();
        let (rows, _) = Numbered::read(&mut keys, payload, 0, &partition.blocks)?;
        let wanted = listed(keys.len() as u64);
        let values = match grouping {
            Grouping::Count => GroupValues::Counts(count(payload, &keys, &rows)?),
            Grouping::Group => GroupValues::Listed {
                payload: payload.clone(),
                listed: Listed::of(keys.len(), &rows),
            },
            _ => combine(running, payload, &keys, &rows, &wanted)?,
        };
        Ok(Self::Groups { keys, values })
    }

    /// Adds the element with this number to `rows`, for this batch offset.
    pub(super) fn push(
        &self,
        number: usize,
        offset: u32,
        rows: &mut Rows,
    ) -> Result<(), OperationError> {
        let (keys, values) = match self {
            Self::Groups { keys, values } => (keys, values),
            Self::Joined(joined) => return joined.push(number as u64, offset, rows),
        };
        let key = keys.get(number);
        match values {
            GroupValues::Rows(key_ends) => {
                let (key, value) = key.split_at(key_ends[number]);
                rows.push(offset, key, |out| out.extend_from_slice(value));
            }
            GroupValues::Counts(counts) => rows.push(offset, key, |out| {
                // A number is always encoded.
                let _ = codec::encode_into(&counts[number], out);
            }),
            GroupValues::Listed { payload, listed } => {
                let places = listed.group(number);
                check_size(&[places])?;
                rows.push(offset, key, |out| write_list(payload, places, out));
            }
            GroupValues::Combined { bytes, groups } => match &groups[number] {
                Combined::Value(from, to) => {
                    rows.push(offset, key, |out| out.extend_from_slice(&bytes[*from..*to]));
                }
                Combined::Failed(error) => return Err(error.clone()),
                Combined::Unwanted => {
                    let text = "an element was gathered that the task does not ask for";
                    return Err(OperationError::new(ErrorKind::Codec, text));
                }
            },
        }
        Ok(())
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

/// Numbers the different rows of blocks; and where the own key of each ends.
fn distinct(payload: &Bytes, lengths: &[u32]) -> Result<(Keys, Vec<usize>), Refusal> {
    let (mut keys, mut key_ends, mut from) = (Keys::default(), Vec::new(), 0);
    let mut row = Vec::new();
    for length in lengths {
        let to = from + *length as usize;
        for (key, value) in block(payload, from, to)?.iter() {
            row.clear();
            row.extend_from_slice(key);
            row.extend_from_slice(value);
            if keys.number(&row, hash(&row)) as usize == key_ends.len() {
                key_ends.push(key.len());
            }
        }
        from = to;
    }
    Ok((keys, key_ends))
}

/// Sums up the counts of each group.
fn count(payload: &[u8], keys: &Keys, rows: &Numbered) -> Result<Vec<u64>, Refusal> {
    let mut counts = vec![0_u64; keys.len()];
    for (group, (from, to)) in rows.groups.iter().zip(&rows.values) {
        let count: u64 = codec::decode(&payload[*from..*to])
            .map_err(|error| malformed(format!("a count does not decode: {error}")))?;
        let sum = &mut counts[*group as usize];
        *sum = sum.saturating_add(count);
    }
    Ok(counts)
}

/// Combines the values of each group that the task asks for, with its first step.
fn combine(
    running: &Running,
    payload: &[u8],
    keys: &Keys,
    rows: &Numbered,
    wanted: &Wanted,
) -> Result<GroupValues, Refusal> {
    let steps = running.pipeline.steps();
    let Some((step, mut accumulators)) =
        steps.first().and_then(|step| Some((step, step.accumulators()?)))
    else {
        return Err(malformed("the first step combines no values".to_owned()));
    };
    // Wanted groups are numbered anew, in the order of their first values.
    let mut dense = vec![None; keys.len()];
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
    let mut outcomes: Vec<Combined> = keys_without(keys.len());
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
    Ok(GroupValues::Combined { bytes: encoded, groups: outcomes })
}

fn keys_without(count: usize) -> Vec<Combined> {
    std::iter::repeat_with(|| Combined::Unwanted).take(count).collect()
}
