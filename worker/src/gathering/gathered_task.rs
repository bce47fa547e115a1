//! What a task has gathered, and what is reported to its leader about elements that fail: it never
//! sees the rows of a spread exchange.

use std::collections::HashMap;

use bytes::Bytes;
use phalanx_core::{
    codec::Layout,
    gather::List,
    operation::ElementRange,
    wire::{
        GatheredElement, Grouping, ListEnd, Outcome, QueuedGather, Segment, TaskHeader,
        list_position, place_in_list,
    },
};

use super::{
    part::{GatheredPartition, Part},
    store::{Piece, Store},
};

/// The most elements of one result that are reported.
const MAX_REPORTED: usize = 64;

/// The most bytes of encodings in one result: with as many outputs as a result may have, they still
/// fit into a message.
const MAX_REPORTED_BYTES: usize = 4 << 20;

/// What a task has gathered.
#[derive(Debug, Clone)]
pub(crate) struct GatheredTask {
    pub(super) grouping: Grouping,
    /// The partitions, in the order of the elements.
    pub(super) partitions: Vec<GatheredPartition>,
    /// Where their blocks are.
    pub(super) store: Store,
    pub(super) layout: Layout,
    pub(super) ranges: Vec<ElementRange>,
}

impl GatheredTask {
    /// What a task has gathered that reads `queued`, from what it has gathered elsewhere.
    pub(crate) fn new(
        task: &TaskHeader,
        queued: &QueuedGather,
        partitions: Vec<GatheredPartition>,
        store: Store,
    ) -> Self {
        let QueuedGather { grouping, layout, .. } = *queued;
        Self { grouping, partitions, store, layout, ranges: task.ranges.clone() }
    }

    pub(crate) fn partitions(&self) -> &[GatheredPartition] {
        &self.partitions
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The bytes of blocks that are on disk.
    pub(crate) fn spilled(&self) -> u64 {
        let sizes = self.partitions.iter().map(GatheredPartition::size);
        if self.store.is_spilled() { sizes.sum() } else { 0 }
    }

    /// The partitions as they are once all pieces have been written to another store, one after the
    /// other, and these pieces.
    pub(crate) fn repack(&self) -> (Vec<GatheredPartition>, Vec<Piece>) {
        let (mut pieces, mut from) = (Vec::new(), 0);
        let mut repack = |part: &Part| {
            pieces.extend_from_slice(part.pieces());
            let repacked = part.repacked(from);
            from += part.size();
            repacked
        };
        let partitions = self.partitions.iter().map(|it| GatheredPartition {
            partition: it.partition,
            parts: it.parts.iter().map(&mut repack).collect(),
        });
        (partitions.collect(), pieces)
    }

    /// Adds to the elements that failed in a result what the leader cannot see itself.
    pub(crate) fn report(&self, segments: &mut [Segment]) {
        let (mut lists, mut bytes) = (self.lists(), 0);
        let failed = segments.iter_mut().filter_map(|segment| match &mut segment.outcome {
            Outcome::Failed { element, .. } => Some((segment.from, element)),
            _ => None,
        });
        for (offset, element) in failed.take(MAX_REPORTED) {
            let mut reported = self.find(offset, &mut lists);
            if let Some(reported) = &mut reported {
                let size = reported.encodings.as_ref().map_or(0, Bytes::len);
                if bytes + size > MAX_REPORTED_BYTES {
                    reported.leave_out_encodings();
                } else {
                    bytes += size;
                }
            }
            *element = reported.map(Box::new);
        }
    }

    /// The element at this batch offset.
    pub(crate) fn element(&self, offset: u32) -> Option<GatheredElement> {
        self.find(offset, &mut self.lists())
    }

    fn lists(&self) -> Lists<'_, impl FnMut(u32, usize) -> Option<List>> {
        Lists::new(&self.partitions, |partition, part| self.load(partition, part))
    }

    /// The element at this batch offset.
    fn find(
        &self,
        offset: u32,
        lists: &mut Lists<'_, impl FnMut(u32, usize) -> Option<List>>,
    ) -> Option<GatheredElement> {
        let mut left = u64::from(offset);
        for range in &self.ranges {
            let (partition, from) = place_in_list(range.from);
            let is_open = range.to == list_position(partition, u64::MAX);
            let to = match is_open {
                true => lists.length(partition)?,
                false => from + (range.to - range.from),
            };
            let length = to.saturating_sub(from);
            if left < length {
                return lists.report(partition, from + left, self.layout);
            }
            left -= length;
        }
        None
    }

    fn load(&self, partition: u32, part: usize) -> Option<List> {
        let partition = self.partitions.iter().find(|it| it.partition == partition)?;
        let part = partition.parts.get(part)?;
        partition.load(part, self.grouping, &self.store).ok().map(|(list, _)| list)
    }
}

/// The lists that were gathered for one reply: the lengths of all, and the last part as a whole. So
/// only one is in memory, and for offsets that ascend each is gathered once.
struct Lists<'t, L> {
    partitions: &'t [GatheredPartition],
    load: L,
    /// The lengths of the lists that were not known.
    lengths: HashMap<u32, u64>,
    last: Option<(u32, usize, List)>,
}

impl<'t, L: FnMut(u32, usize) -> Option<List>> Lists<'t, L> {
    fn new(partitions: &'t [GatheredPartition], load: L) -> Self {
        Self { partitions, load, lengths: HashMap::new(), last: None }
    }

    /// The length of the list of a partition.
    fn length(&mut self, partition: u32) -> Option<u64> {
        let known = self.partitions.iter().find(|it| it.partition == partition)?.elements();
        if let Some(length) = known.or_else(|| self.lengths.get(&partition).copied()) {
            return Some(length);
        }
        let length = self.get(partition, 0)?.elements();
        self.lengths.insert(partition, length);
        Some(length)
    }

    /// What is reported about an element of a list.
    fn report(&mut self, partition: u32, number: u64, layout: Layout) -> Option<GatheredElement> {
        let list = ListEnd { partition, elements: self.length(partition)? };
        let parts = &self.partitions.iter().find(|it| it.partition == partition)?.parts;
        let (mut part, mut left) = (0, number);
        while let Some(elements) = parts.get(part)?.elements
            && left >= elements
        {
            (part, left) = (part + 1, left - elements);
        }
        self.get(partition, part)?.report(list, left, layout)
    }

    fn get(&mut self, partition: u32, part: usize) -> Option<&List> {
        if self.last.as_ref().is_none_or(|last| (last.0, last.1) != (partition, part)) {
            // Let go of first, because it may be as large as the next.
            self.last = None;
            let list = (self.load)(partition, part)?;
            self.last = Some((partition, part, list));
        }
        self.last.as_ref().map(|(_, _, list)| list)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use phalanx_core::{
        codec,
        operation::{ErrorKind, OperationError},
        wire::{BlockWriter, PartitionBlocks},
    };

    use super::*;

    /// A task that reads partitions as a whole, each with these rows, all of them different.
    fn gathered_task(partitions: &[(u32, &[&str])]) -> GatheredTask {
        let (mut payload, mut listed, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
        let grouping = Grouping::Distinct;
        for (partition, rows) in partitions {
            let (mut writer, before) = (BlockWriter::default(), payload.len());
            for row in *rows {
                writer.push(&codec::encode(&(*row).to_owned()).unwrap(), &[]);
            }
            writer.finish(&mut payload);
            let blocks = vec![(payload.len() - before) as u32];
            let blocks = PartitionBlocks { partition: *partition, blocks, second: Vec::new() };
            listed.push(GatheredPartition::inline(&blocks, before as u64));
            let (from, to) = (list_position(*partition, 0), list_position(*partition, u64::MAX));
            ranges.push(ElementRange { from, to, tries: 1 });
        }
        let (store, layout) = (Store::Memory(payload.into()), Layout::Whole);
        GatheredTask { grouping, partitions: listed, store, layout, ranges }
    }

    fn place(element: &GatheredElement) -> (u32, u64, String) {
        let encodings = element.encodings.clone().expect("they are small");
        // Behind the frame, which has the length of the row.
        let row = codec::decode(&encodings[encodings.len() - 2..]).unwrap();
        (element.list.partition, element.list.elements, row)
    }

    #[test]
    fn elements_of_several_lists_are_found_and_each_list_is_gathered_once() {
        let gathered = gathered_task(&[(3, &["a", "b"]), (4, &["c", "d", "e"])]);
        let lists_gathered = RefCell::new(Vec::new());
        let mut lists = Lists::new(&gathered.partitions, |partition, part| {
            lists_gathered.borrow_mut().push(partition);
            gathered.load(partition, part)
        });
        let found: Vec<_> = (0..6).map(|offset| gathered.find(offset, &mut lists)).collect();
        let places: Vec<_> = found.iter().flatten().map(place).collect();
        let expected = [(3, 2, "a"), (3, 2, "b"), (4, 3, "c"), (4, 3, "d"), (4, 3, "e")];
        assert_eq!(places, expected.map(|(list, length, row)| (list, length, row.to_owned())));
        assert!(found[5].is_none(), "behind the end");
        assert_eq!(*lists_gathered.borrow(), [3, 4]);
    }

    #[test]
    fn an_element_is_found_by_the_ranges_of_its_task() {
        let mut gathered = gathered_task(&[(3, &["a", "b", "c", "d"])]);
        let range = |from, to| ElementRange {
            from: list_position(3, from),
            to: list_position(3, to),
            tries: 1,
        };
        gathered.ranges = vec![range(1, 2), range(3, u64::MAX)];
        let found: Vec<_> = (0..3).filter_map(|offset| gathered.element(offset)).collect();
        let places: Vec<_> = found.iter().map(place).collect();
        assert_eq!(places, [(3, 4, "b".to_owned()), (3, 4, "d".to_owned())]);
    }

    #[test]
    fn encodings_are_left_out_beyond_a_number_of_bytes_and_elements_beyond_a_number() {
        let rows: Vec<String> = (0..80).map(|row| format!("{row:02}").repeat(50_000)).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let gathered = gathered_task(&[(3, &rows)]);
        let segment = |from| {
            let error = OperationError::new(ErrorKind::Fatal, "failed");
            let outcome = Outcome::Failed { step: 0, error, element: None };
            Segment { from, to: from + 1, outcome }
        };
        let mut segments: Vec<Segment> = (0..80).map(segment).collect();
        gathered.report(&mut segments);
        let reported = segments.iter().filter_map(|segment| match &segment.outcome {
            Outcome::Failed { element, .. } => element.as_deref(),
            _ => None,
        });
        let reported: Vec<&GatheredElement> = reported.collect();
        assert_eq!(reported.len(), MAX_REPORTED);
        let encodings = reported.iter().map_while(|element| element.encodings.as_ref());
        let (count, bytes) = encodings.fold((0, 0), |(n, sum), one| (n + 1, sum + one.len()));
        assert_eq!(count, MAX_REPORTED_BYTES / 100_000);
        assert!(bytes <= MAX_REPORTED_BYTES);
        assert!(reported[count..].iter().all(|it| it.encodings.is_none() && it.lengths.is_empty()));
        assert!(reported.iter().all(|element| element.list.elements == 80));
    }
}
