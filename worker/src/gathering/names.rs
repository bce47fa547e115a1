//! What a leader is told about elements that fail: it never sees the rows of a spread exchange.

use bytes::Bytes;
use phalanx_core::{
    codec::Layout,
    gather::List,
    operation::ElementRange,
    wire::{
        Gather, GatheredElement, Outcome, PartitionBlocks, ResultHeader, list_position,
        place_in_list,
    },
};

/// The most elements of one result about which the leader is told.
const MAX_TOLD: usize = 64;
/// The most bytes of their encodings: the result must fit into a message.
const MAX_TOLD_BYTES: usize = 1 << 20;

/// The lists of a task that was gathered, of which one at a time is in memory.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(super) gather: Gather,
    pub(super) payload: Bytes,
    pub(super) layout: Layout,
    pub(super) ranges: Vec<ElementRange>,
}

impl Names {
    pub(crate) fn gather(&self) -> &Gather {
        &self.gather
    }

    /// The blocks of the partitions.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Adds what the leader is told to the elements that failed in a result.
    pub(crate) fn tell(&self, header: &mut ResultHeader) {
        let mut last = None;
        let failed = header.segments.iter_mut().filter_map(|segment| match &mut segment.outcome {
            Outcome::Failed { element, .. } => Some((segment.from, element)),
            _ => None,
        });
        let mut room = MAX_TOLD_BYTES;
        for (offset, element) in failed.take(MAX_TOLD) {
            let mut told = self.find(offset, &mut last);
            if let Some(told) = &mut told {
                let size = told.encodings.as_ref().map_or(0, |encodings| encodings.len());
                match room.checked_sub(size) {
                    Some(left) => room = left,
                    None => (told.encodings, told.lengths) = (None, Vec::new()),
                }
            }
            *element = told.map(Box::new);
        }
    }

    /// The element at this batch offset.
    pub(crate) fn element(&self, offset: u32) -> Option<GatheredElement> {
        self.find(offset, &mut None)
    }

    /// The element at this batch offset. `last` is the list that was looked at last.
    fn find(&self, offset: u32, last: &mut Option<(u32, List)>) -> Option<GatheredElement> {
        let mut left = u64::from(offset);
        for range in &self.ranges {
            let (partition, from) = place_in_list(range.from);
            let is_open = range.to == list_position(partition, u64::MAX);
            let to = match is_open {
                true => self.list(partition, last)?.elements(),
                false => from + (range.to - range.from),
            };
            let length = to.saturating_sub(from);
            if left < length {
                return self.list(partition, last)?.told(partition, from + left, self.layout);
            }
            left -= length;
        }
        None
    }

    fn list<'l>(&self, partition: u32, last: &'l mut Option<(u32, List)>) -> Option<&'l List> {
        if last.as_ref().is_none_or(|(known, _)| *known != partition) {
            let mut before = 0;
            let mut partitions = self.gather.partitions.iter();
            let blocks = partitions.find(|blocks| {
                let found = blocks.partition == partition;
                before += if found { 0 } else { blocks.size() as usize };
                found
            })?;
            *last = Some((partition, self.gather_list(before, blocks)?));
        }
        last.as_ref().map(|(_, list)| list)
    }

    fn gather_list(&self, from: usize, blocks: &PartitionBlocks) -> Option<List> {
        let to = from + blocks.size() as usize;
        let payload = (to <= self.payload.len()).then(|| self.payload.slice(from..to))?;
        List::gather(self.gather.grouping, &payload, blocks).ok()
    }
}
