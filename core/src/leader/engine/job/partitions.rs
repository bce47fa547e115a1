//! Elements of sealed partitions, which only the worker that reads the blocks finds out.

use std::ops::Range;

use crate::{
    operation::ElementRange,
    wire::{ListEnd, list_position, place_in_list},
};

/// Elements of the lists of sealed partitions (rule 33). Their batch offsets number them from the
/// first, as far as the lengths of their lists are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partitions {
    /// In the order of their positions. A part whose end is not known is the last of its partition.
    parts: Vec<ListPart>,
}

/// Neighbouring elements of the list of one partition, with equal tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListPart {
    pub(crate) partition: u32,
    /// The number of the first element in the list.
    from: u64,
    /// One past the last; `None` if the rest of the list belongs to it, and its length is not
    /// known.
    to: Option<u64>,
    /// The number of the next try of each element.
    tries: u32,
    /// The size of the blocks of the whole partition.
    bytes: usize,
    /// The batch offset of the first element, as far as the lengths of lists are known.
    offset: usize,
}

impl ListPart {
    /// The list of a whole partition, with blocks of this many bytes.
    pub(crate) fn whole(partition: u32, bytes: usize) -> Self {
        Self { partition, from: 0, to: None, tries: 1, bytes, offset: 0 }
    }

    /// The size of the blocks of the whole partition.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn len(&self) -> usize {
        self.to.map_or(0, |to| (to - self.from) as usize)
    }

    fn position(&self, offset: usize) -> u64 {
        list_position(self.partition, self.from + offset as u64)
    }

    fn end(&self) -> u64 {
        list_position(self.partition, self.to.unwrap_or(u64::MAX))
    }

    /// Whether the next elements of the list are in this part, with equal tries.
    fn is_before(&self, next: &Self) -> bool {
        let (end, from) = ((self.partition, self.to), (next.partition, Some(next.from)));
        end == from && self.tries == next.tries
    }
}

impl Partitions {
    /// The lists of whole partitions, in their order.
    pub(crate) fn whole(parts: Vec<ListPart>) -> Self {
        Self::of(parts)
    }

    /// Numbers the elements of these parts. Neighbours with equal tries become one part.
    fn of(parts: Vec<ListPart>) -> Self {
        let (mut all, mut offset) = (Vec::<ListPart>::with_capacity(parts.len()), 0);
        for part in parts {
            match all.last_mut() {
                Some(last) if last.is_before(&part) => last.to = part.to,
                _ => all.push(ListPart { offset, ..part }),
            }
            offset += part.len();
        }
        Self { parts: all }
    }

    /// The number of elements, as far as it is known.
    pub(crate) fn len(&self) -> usize {
        self.parts.last().map_or(0, |part| part.offset + part.len())
    }

    /// Whether the length of one of its lists is not known.
    pub(crate) fn is_open(&self) -> bool {
        self.parts.iter().any(|part| part.to.is_none())
    }

    /// The position of the first element.
    pub(crate) fn first(&self) -> u64 {
        self.parts.first().map_or(0, |part| part.position(0))
    }

    /// One past the last position.
    pub(crate) fn end(&self) -> u64 {
        self.parts.last().map_or(0, ListPart::end)
    }

    /// The partitions that it has elements of, in order.
    pub(crate) fn partitions(&self) -> Vec<u32> {
        let mut partitions: Vec<u32> = self.parts.iter().map(|part| part.partition).collect();
        partitions.dedup();
        partitions
    }

    /// The size of the blocks of its partitions, in bytes.
    pub(crate) fn size(&self) -> usize {
        let firsts = self.parts.chunk_by(|one, next| one.partition == next.partition);
        firsts.filter_map(|parts| Some(parts.first()?.bytes)).sum()
    }

    /// The position of the element at this batch offset.
    pub(crate) fn position(&self, offset: usize) -> u64 {
        self.at(offset).map_or(0, |(part, offset)| part.position(offset))
    }

    /// The number of the next try of the element at this batch offset, from 1.
    pub(crate) fn tries(&self, offset: usize) -> u32 {
        self.at(offset).map_or(1, |(part, _)| part.tries)
    }

    /// The partition of the element at this batch offset.
    pub(crate) fn partition(&self, offset: usize) -> Option<u32> {
        self.at(offset).map(|(part, _)| part.partition)
    }

    /// The part of the element at this batch offset, and its place there.
    fn at(&self, offset: usize) -> Option<(&ListPart, usize)> {
        // Behind the last one that is known is the element whose list is not known yet, or one of
        // them.
        let part = self.parts.get(self.first_with(offset)).or(self.parts.last())?;
        Some((part, offset - part.offset))
    }

    /// The number of the part of the element at this batch offset; that of all parts if it is not
    /// known.
    fn first_with(&self, offset: usize) -> usize {
        self.parts.partition_point(|part| part.offset + part.len() <= offset)
    }

    /// Whether the elements at these batch offsets, of which there must be one, are neighbours in
    /// one list.
    pub(crate) fn are_neighbours(&self, offsets: Range<usize>) -> bool {
        if offsets.is_empty() || offsets.end > self.len() {
            return false;
        }
        let last = offsets.end - 1;
        let (from, to) = (self.position(offsets.start), self.position(last));
        to - from == (last - offsets.start) as u64 && place_in_list(from).0 == place_in_list(to).0
    }

    /// The elements at these batch offsets.
    pub(crate) fn slice(&self, offsets: Range<usize>) -> Self {
        self.pick(&[offsets])
    }

    /// The elements at all these batch offsets, which ascend.
    pub(crate) fn pick(&self, ranges: &[Range<usize>]) -> Self {
        let mut parts = Vec::with_capacity(ranges.len());
        for offsets in ranges {
            for part in &self.parts[self.first_with(offsets.start)..] {
                let at = part.offset;
                let (from, to) = (offsets.start.max(at), offsets.end.min(at + part.len()));
                if at >= offsets.end {
                    break;
                }
                if from < to {
                    let (from, to) = (part.from + (from - at) as u64, part.from + (to - at) as u64);
                    parts.push(ListPart { from, to: Some(to), ..*part });
                }
            }
        }
        Self::of(parts)
    }

    /// The elements from this batch offset on, and those whose offsets are not known; `None` if
    /// there are none.
    pub(crate) fn rest(&self, offset: usize) -> Option<Self> {
        let mut left = offset as u64;
        let mut parts = Vec::new();
        for part in &self.parts {
            let skipped = left.min(part.len() as u64);
            left -= skipped;
            let part = ListPart { from: part.from + skipped, ..*part };
            if part.to != Some(part.from) {
                parts.push(part);
            }
        }
        (!parts.is_empty()).then(|| Self::of(parts))
    }

    /// The same elements, with the lengths of these lists known. `None` if the lengths contradict
    /// what is known.
    pub(crate) fn closed(&self, lists: &[ListEnd]) -> Option<Self> {
        let mut parts = self.parts.clone();
        for list in lists {
            let mut parts = parts.iter_mut().filter(|part| part.partition == list.partition);
            let mut met = false;
            if !parts.all(|part| {
                met = true;
                let end = part.to.get_or_insert(list.elements.max(part.from));
                *end <= list.elements
            }) || !met
            {
                return None;
            }
        }
        parts.retain(|part| part.to != Some(part.from));
        Some(Self::of(parts))
    }

    /// Splits it in two: between two partitions if it has several, otherwise in the middle of its
    /// elements, if their number is known. `None` if there is no such place.
    pub(crate) fn halves(&self) -> Option<[Self; 2]> {
        let partitions = self.partitions();
        if let Some(&middle) = partitions.get(partitions.len() / 2)
            && middle != partitions[0]
        {
            let at = self.parts.partition_point(|part| part.partition < middle);
            let (left, right) = self.parts.split_at(at);
            return Some([left, right].map(|parts| Self::of(parts.to_vec())));
        }
        let middle = self.len() / 2;
        if self.is_open() || middle == 0 {
            return None;
        }
        Some([self.slice(0..middle), self.slice(middle..self.len())])
    }

    /// Puts the element at this batch offset into a part of its own, between those before and
    /// behind it. `None` if it is not known which element that is.
    pub(crate) fn isolated(&self, offset: usize) -> Option<[Option<Self>; 3]> {
        let known = match &self.parts[..] {
            // Elements are numbered from the beginning of the only list.
            [only] => Self::of(vec![ListPart { to: Some(only.to?), ..*only }]),
            _ if self.is_open() => return None,
            _ => self.clone(),
        };
        let some = |parts: Self| (!parts.parts.is_empty()).then_some(parts);
        let alone = some(known.slice(offset..offset + 1))?;
        Some([some(known.slice(0..offset)), Some(alone), self.rest(offset + 1)])
    }

    /// The same elements, each charged with one more try.
    pub(crate) fn charged(mut self) -> Self {
        self.parts.iter_mut().for_each(|part| part.tries += 1);
        self
    }

    /// The position ranges of elements with equal tries, as in a task message.
    pub(crate) fn ranges(&self) -> Vec<ElementRange> {
        let range = |part: &ListPart| ElementRange {
            from: part.position(0),
            to: part.end(),
            tries: part.tries,
        };
        self.parts.iter().map(range).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(partition: u32, elements: u64) -> ListEnd {
        ListEnd { partition, elements }
    }

    fn two() -> Partitions {
        Partitions::whole(vec![ListPart::whole(3, 10), ListPart::whole(4, 20)])
    }

    #[test]
    fn the_elements_of_a_list_have_offsets_once_its_length_is_known() {
        let open = two();
        assert_eq!((open.len(), open.is_open(), open.size()), (0, true, 30));
        let half = open.closed(&[end(3, 5)]).unwrap();
        assert_eq!((half.len(), half.is_open()), (5, true));
        let rest = half.rest(2).unwrap();
        assert_eq!(
            (rest.len(), rest.position(0), rest.position(2)),
            (3, list_position(3, 2), list_position(3, 4))
        );
        assert_eq!(half.rest(5).unwrap().first(), list_position(4, 0));
        let all = half.closed(&[end(4, 2)]).unwrap();
        assert_eq!((all.len(), all.position(6)), (7, list_position(4, 1)));
        assert_eq!(all.rest(7), None);
    }

    #[test]
    fn an_empty_list_has_no_elements_left() {
        let closed = two().closed(&[end(3, 0), end(4, 1)]).unwrap();
        assert_eq!((closed.partitions(), closed.len()), (vec![4], 1));
        assert_eq!(closed.slice(0..1).rest(1), None);
    }

    #[test]
    fn lengths_that_contradict_what_is_known_are_refused() {
        let known = two().closed(&[end(3, 5)]).unwrap();
        assert!(known.closed(&[end(3, 4)]).is_none());
        assert!(known.closed(&[end(7, 4)]).is_none());
        let part = known.slice(1..3);
        assert_eq!(part.closed(&[end(3, 9)]), Some(part), "a part need not be the end");
    }

    #[test]
    fn it_is_halved_between_partitions_first() {
        let [left, right] = two().halves().unwrap();
        assert_eq!((left.partitions(), right.partitions()), (vec![3], vec![4]));
        assert_eq!(left.halves(), None, "nobody knows where its middle is");
        let [left, right] = left.closed(&[end(3, 5)]).unwrap().halves().unwrap();
        assert_eq!((left.len(), right.len()), (2, 3));
    }

    #[test]
    fn an_element_is_isolated_from_its_neighbours() {
        let closed = two().closed(&[end(3, 5), end(4, 2)]).unwrap();
        let [before, alone, after] = closed.isolated(5).unwrap();
        let alone = alone.unwrap().charged();
        assert_eq!((before.unwrap().len(), alone.first()), (5, list_position(4, 0)));
        assert_eq!((alone.tries(0), after.unwrap().position(0)), (2, list_position(4, 1)));
        assert!(two().isolated(0).is_none(), "nobody knows which list that is in");
        let ranges = closed.slice(4..6).ranges();
        assert_eq!(ranges[1].to, list_position(4, 1));
        assert_eq!(two().ranges()[0].to, list_position(4, 0), "to the end of the list");
    }
}
