//! Counts the elements of the source that are through all stages.

use std::collections::BTreeMap;

use super::Elements;

/// The elements of a source on their way through the stages of a job.
///
/// An element is through when all that was made from it has passed the last stage, failed
/// permanently, or was filtered out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Passage {
    /// The elements between the first and the last stage, by the source index of the first of each
    /// run. A run is dropped when all its elements are through.
    runs: BTreeMap<u64, Run>,
    /// The number of elements that are through.
    through: u64,
}

/// Neighbours in the source, which passed the first stage together.
#[derive(Debug, Clone)]
struct Run {
    /// For each element, the number of descendants in later stages that are not settled.
    open: Vec<u32>,
    /// The number of elements that are not through.
    left: usize,
}

/// The number of outputs of each settled element that enter the next stage.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Onward<'a> {
    /// None: the stage is the last one, or the elements failed.
    Nothing,
    /// One each.
    One,
    /// As many as these counts.
    Counts(&'a [u32]),
}

impl Onward<'_> {
    fn of(self, offset: usize) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::One => 1,
            Self::Counts(counts) => counts.get(offset).copied().unwrap_or(0),
        }
    }
}

impl Passage {
    /// The number of elements of the source that are through all stages.
    pub(crate) fn through(&self) -> u64 {
        self.through
    }

    /// Elements of the source have been settled in the first stage.
    pub(super) fn settle_first(&mut self, elements: &Elements, onward: Onward<'_>) {
        let count = elements.len();
        if matches!(onward, Onward::Nothing) {
            self.through += count as u64;
            return;
        }
        let open: Vec<u32> = (0..count).map(|offset| onward.of(offset)).collect();
        let left = open.iter().filter(|open| **open > 0).count();
        self.through += (count - left) as u64;
        if left > 0 {
            self.runs.insert(elements.index(0), Run { open, left });
        }
    }

    /// Elements have been settled in a later stage.
    pub(super) fn settle_later(&mut self, elements: &Elements, onward: Onward<'_>) {
        let mut offset = 0;
        while offset < elements.len() {
            let index = elements.index(offset);
            let Some((&first, run)) = self.runs.range_mut(..=index).next_back() else {
                debug_assert!(false, "element {index} is not between two stages");
                return;
            };
            let before = offset;
            while offset < elements.len()
                && let Some(place) = elements.index(offset).checked_sub(first)
                && let Some(open) = run.open.get_mut(place as usize)
            {
                debug_assert!(*open > 0, "element {first} + {place} is through already");
                *open = (*open + onward.of(offset)).saturating_sub(1);
                if *open == 0 {
                    run.left -= 1;
                    self.through += 1;
                }
                offset += 1;
            }
            if run.left == 0 {
                self.runs.remove(&first);
            }
            if offset == before {
                debug_assert!(false, "element {index} is not between two stages");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn source(first: u64, count: u32) -> Elements {
        Elements::pulled(first, Bytes::from(vec![0; count as usize]), (1..=count).collect())
    }

    fn later(indexes: &[u64]) -> Elements {
        let count = indexes.len() as u32;
        let bytes = Bytes::from(vec![0; indexes.len()]);
        Elements::passed(0, bytes, (1..=count).collect(), indexes.to_vec())
    }

    #[test]
    fn an_element_is_through_when_all_that_was_made_from_it_is_settled() {
        let mut passage = Passage::default();
        passage.settle_first(&source(0, 3), Onward::Counts(&[2, 0, 1]));
        assert_eq!(passage.through(), 1, "nothing was made from the second element");
        passage.settle_later(&later(&[0, 2]), Onward::Counts(&[3, 1]));
        assert_eq!(passage.through(), 1);
        passage.settle_later(&later(&[2, 0, 0, 0]), Onward::Nothing);
        assert_eq!(passage.through(), 2, "one descendant of the first element is left");
        passage.settle_later(&later(&[0]), Onward::Nothing);
        assert_eq!(passage.through(), 3);
        assert!(passage.runs.is_empty(), "{passage:?}");
    }

    #[test]
    fn elements_of_several_runs_can_be_settled_together() {
        let mut passage = Passage::default();
        passage.settle_first(&source(4, 2), Onward::One);
        passage.settle_first(&source(0, 4), Onward::One);
        passage.settle_later(&later(&[1, 5, 0, 4, 3]), Onward::Nothing);
        assert_eq!((passage.through(), passage.runs.len()), (5, 1));
        passage.settle_later(&later(&[2]), Onward::Nothing);
        assert_eq!((passage.through(), passage.runs.len()), (6, 0));
    }
}
