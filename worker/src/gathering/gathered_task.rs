//! What a task has gathered, and what is reported to its leader about elements that fail: it never
//! sees the rows of a spread exchange.

use std::collections::HashMap;

use bytes::Bytes;
use phalanx_core::{
    codec::Layout,
    gather::List,
    operation::ElementRange,
    wire::{Gather, GatheredElement, Outcome, Segment, list_position, place_in_list},
};

/// The most elements of one result that are reported.
const MAX_REPORTED: usize = 64;

/// The most bytes of encodings in one result: with as many outputs as a result may have, they still
/// fit into a message.
const MAX_REPORTED_BYTES: usize = 4 << 20;

/// What the lists of a task are made of that was gathered.
#[derive(Debug, Clone)]
pub(crate) struct GatheredTask {
    pub(super) gather: Gather,
    pub(super) payload: Bytes,
    pub(super) layout: Layout,
    pub(super) ranges: Vec<ElementRange>,
}

impl GatheredTask {
    pub(crate) fn gather(&self) -> &Gather {
        &self.gather
    }

    /// The blocks of the partitions.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.payload
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

    fn lists(&self) -> Lists<impl FnMut(u32) -> Option<List>> {
        Lists::new(|partition| self.gather_list(partition))
    }

    /// The element at this batch offset.
    fn find(
        &self,
        offset: u32,
        lists: &mut Lists<impl FnMut(u32) -> Option<List>>,
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
                return lists.get(partition)?.report(partition, from + left, self.layout);
            }
            left -= length;
        }
        None
    }

    fn gather_list(&self, partition: u32) -> Option<List> {
        let mut from = 0;
        let mut partitions = self.gather.partitions.iter();
        let blocks = partitions.find(|blocks| {
            let found = blocks.partition == partition;
            from += if found { 0 } else { blocks.size() as usize };
            found
        })?;
        let to = from + blocks.size() as usize;
        let payload = (to <= self.payload.len()).then(|| self.payload.slice(from..to))?;
        List::gather(self.gather.grouping, &payload, blocks).ok()
    }
}

/// The lists that were gathered for one reply: the lengths of all, and the last one as a whole. So
/// only one is in memory, and for offsets that ascend each is gathered once.
struct Lists<G> {
    gather: G,
    lengths: HashMap<u32, u64>,
    last: Option<(u32, List)>,
}

impl<G: FnMut(u32) -> Option<List>> Lists<G> {
    fn new(gather: G) -> Self {
        Self { gather, lengths: HashMap::new(), last: None }
    }

    fn length(&mut self, partition: u32) -> Option<u64> {
        match self.lengths.get(&partition) {
            Some(length) => Some(*length),
            None => self.get(partition).map(List::elements),
        }
    }

    fn get(&mut self, partition: u32) -> Option<&List> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != partition) {
            // Let go of first, because it may be as large as the next.
            self.last = None;
            let list = (self.gather)(partition)?;
            self.lengths.insert(partition, list.elements());
            self.last = Some((partition, list));
        }
        self.last.as_ref().map(|(_, list)| list)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use phalanx_core::{
        codec,
        operation::{ErrorKind, OperationError},
        wire::{BlockWriter, Grouping, PartitionBlocks},
    };

    use super::*;

    /// A task that reads partitions as a whole, each with these rows, all of them different.
    fn gathered_task(partitions: &[(u32, &[&str])]) -> GatheredTask {
        let (mut payload, mut listed, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
        for (partition, rows) in partitions {
            let (mut writer, before) = (BlockWriter::default(), payload.len());
            for row in *rows {
                writer.push(&codec::encode(&(*row).to_owned()).unwrap(), &[]);
            }
            writer.finish(&mut payload);
            let blocks = vec![(payload.len() - before) as u32];
            listed.push(PartitionBlocks { partition: *partition, blocks, second: Vec::new() });
            let (from, to) = (list_position(*partition, 0), list_position(*partition, u64::MAX));
            ranges.push(ElementRange { from, to, tries: 1 });
        }
        let gather = Gather { grouping: Grouping::Distinct, partitions: listed };
        GatheredTask { gather, payload: payload.into(), layout: Layout::Whole, ranges }
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
        let mut lists = Lists::new(|partition| {
            lists_gathered.borrow_mut().push(partition);
            gathered.gather_list(partition)
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
