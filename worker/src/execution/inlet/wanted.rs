//! The elements of a list that a task asks for.

use std::ops::Range;

/// The elements of a list that a task asks for.
pub(super) struct Wanted {
    /// The numbers of these elements, which ascend, and the batch offset of the first of each
    /// range.
    pub(super) ranges: Vec<(Range<u64>, u32)>,
}

impl Wanted {
    /// The batch offset of the element with this number, if the task asks for it.
    pub(super) fn offset(&self, number: u32) -> Option<u32> {
        let number = u64::from(number);
        let next = self.ranges.partition_point(|(range, _)| range.end <= number);
        let (range, first) = self.ranges.get(next).filter(|(range, _)| range.start <= number)?;
        Some(first + (number - range.start) as u32)
    }

    /// What is asked for of each part of the list, with the number of the part, by the numbers of
    /// its own elements. Parts of which nothing is asked for are left out.
    pub(super) fn split(&self, parts: impl Iterator<Item = u64>) -> Vec<(usize, Self)> {
        let (mut split, mut from) = (Vec::new(), 0);
        for (number, elements) in parts.enumerate() {
            let to = from + elements;
            let of_part = |(range, offset): &(Range<u64>, u32)| {
                let (first, end) = (range.start.max(from), range.end.min(to));
                let offset = offset + first.saturating_sub(range.start) as u32;
                (first < end).then(|| (first - from..end - from, offset))
            };
            let ranges: Vec<_> = self.ranges.iter().filter_map(of_part).collect();
            if !ranges.is_empty() {
                split.push((number, Self { ranges }));
            }
            from = to;
        }
        split
    }

    /// The batch offsets of the elements that are no neighbours of those before them.
    pub(super) fn gaps(&self) -> impl Iterator<Item = u32> {
        let pairs = self.ranges.windows(2).filter(|pair| pair[0].0.end < pair[1].0.start);
        pairs.map(|pair| pair[1].1)
    }

    /// The batch offset of the first of them.
    pub(super) fn first_offset(&self) -> Option<u32> {
        self.ranges.first().map(|(_, first)| *first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_of_a_list_is_split_between_its_parts() {
        let wanted = Wanted { ranges: vec![(2..4, 20), (7..12, 22)] };
        let split = wanted.split([3, 0, 3, 1, 20].into_iter());
        let split: Vec<_> = split.into_iter().map(|(part, it)| (part, it.ranges)).collect();
        assert_eq!(split, [(0, vec![(2..3, 20)]), (2, vec![(0..1, 21)]), (4, vec![(0..5, 22)]),]);
    }

    #[test]
    fn an_element_is_found_in_its_range_and_none_in_a_gap() {
        let wanted = Wanted { ranges: vec![(2..4, 20), (4..5, 22), (7..9, 23)] };
        let offsets: Vec<Option<u32>> = (0..10).map(|number| wanted.offset(number)).collect();
        let found: Vec<u32> = offsets.iter().copied().flatten().collect();
        assert_eq!(found, [20, 21, 22, 23, 24]);
        assert!([0, 1, 5, 6, 9].iter().all(|number| offsets[*number].is_none()), "{offsets:?}");
        assert_eq!(wanted.gaps().collect::<Vec<_>>(), [23], "4 is a neighbour of 3");
    }
}
