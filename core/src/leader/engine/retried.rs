//! The elements of a result that are retried, put together into tasks.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use super::job::Batch;

/// The most ranges of elements of a partition that one task has. They add up to 70 KiB to its
/// message, and each of them is looked for in the others.
const MAX_RANGES: usize = 4_096;

/// The elements of a result that are retried.
///
/// A task of a partition brings all of its blocks along, and its worker gathers all of them again,
/// whether it asks for one element or for thousands. So elements of one partition with equal
/// back-offs, whatever is between them, are retried together (rule 33), and neighbours otherwise.
#[derive(Default)]
pub(super) struct Retried {
    /// The batch offsets by partition, if there is one, and by back-off.
    ranges: BTreeMap<(Option<u32>, Duration), Vec<Range<usize>>>,
}

impl Retried {
    /// Adds the elements at these batch offsets, which are behind all that were added before.
    pub(super) fn add(&mut self, batch: &Batch, offsets: Range<usize>, delay: Duration) {
        let partition = batch.partitions().and_then(|all| all.partition(offsets.start));
        let ranges = self.ranges.entry((partition, delay)).or_default();
        match ranges.last_mut() {
            Some(last) if last.end == offsets.start => last.end = offsets.end,
            _ => ranges.push(offsets),
        }
    }

    /// The batches of the tasks, with their back-offs.
    pub(super) fn batches(self, batch: &Batch) -> Vec<(Batch, Duration)> {
        let mut batches = Vec::new();
        for ((_, delay), ranges) in self.ranges {
            match batch {
                Batch::Elements(elements) => batches.extend(
                    ranges.into_iter().map(|it| (Batch::Elements(elements.slice(it)), delay)),
                ),
                Batch::Partitions(partitions) => batches.extend(
                    ranges
                        .chunks(MAX_RANGES)
                        .map(|ranges| (Batch::Partitions(partitions.pick(ranges)), delay)),
                ),
            }
        }
        batches
    }
}
