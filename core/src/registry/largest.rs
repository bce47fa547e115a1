//! The largest of many elements, in memory for these alone.

use std::{cmp::Ordering, collections::BinaryHeap};

/// The elements with the largest keys of all that were added: at most `most`, whatever is added.
///
/// Of equal keys, the element whose bytes come first in lexicographic order is the larger one, so
/// the order in which elements are added makes no difference.
#[derive(Debug)]
pub(crate) struct Largest<K, T> {
    most: usize,
    /// Its top is the smallest, which the next larger one replaces.
    kept: BinaryHeap<Ranked<K, T>>,
}

#[derive(Debug)]
struct Ranked<K, T> {
    key: K,
    bytes: Box<[u8]>,
    element: T,
}

impl<K: Ord, T> Largest<K, T> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, kept: BinaryHeap::new() }
    }

    /// Whether nothing that is added is kept.
    pub(crate) fn keeps_none(&self) -> bool {
        self.most == 0
    }

    /// Adds an element, whose `bytes` decide between equal keys.
    pub(crate) fn add(&mut self, key: K, bytes: &[u8], element: T) {
        if self.kept.len() >= self.most {
            let last = self.kept.peek();
            if last.is_none_or(|last| rank(key.cmp(&last.key), bytes, &last.bytes).is_ge()) {
                return;
            }
            self.kept.pop();
        }
        self.kept.push(Ranked { key, bytes: bytes.into(), element });
    }

    /// The kept elements and their keys, the largest first.
    pub(crate) fn into_sorted(self) -> impl Iterator<Item = (K, T)> {
        self.kept.into_sorted_vec().into_iter().map(|ranked| (ranked.key, ranked.element))
    }
}

/// How two elements `a` and `b` follow each other: the larger key comes first, and of equal keys
/// the smaller bytes.
pub(super) fn rank(keys: Ordering, a: &[u8], b: &[u8]) -> Ordering {
    keys.reverse().then_with(|| a.cmp(b))
}

impl<K: Ord, T> Ord for Ranked<K, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        rank(self.key.cmp(&other.key), &self.bytes, &other.bytes)
    }
}

impl<K: Ord, T> PartialOrd for Ranked<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, T> PartialEq for Ranked<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Ord, T> Eq for Ranked<K, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest(most: usize, elements: &[(u8, &str)]) -> Vec<(u8, usize)> {
        let mut largest = Largest::new(most);
        for (number, (key, bytes)) in elements.iter().enumerate() {
            largest.add(*key, bytes.as_bytes(), number);
        }
        assert!(largest.kept.len() <= most);
        largest.into_sorted().collect()
    }

    #[test]
    fn the_largest_keys_are_kept_and_the_largest_comes_first() {
        let elements = [(3, ""), (9, ""), (1, ""), (7, ""), (2, "")];
        assert_eq!(largest(3, &elements), [(9, 1), (7, 3), (3, 0)]);
        assert_eq!(largest(9, &elements).len(), 5);
        assert_eq!(largest(0, &elements), []);
    }

    #[test]
    fn of_equal_keys_the_first_bytes_are_kept_whatever_came_first() {
        assert_eq!(largest(2, &[(1, "c"), (1, "a"), (1, "b")]), [(1, 1), (1, 2)]);
        assert_eq!(largest(2, &[(1, "b"), (1, "a"), (1, "c")]), [(1, 1), (1, 0)]);
    }

    #[test]
    fn duplicates_are_kept() {
        assert_eq!(largest(2, &[(1, "a"), (1, "a"), (0, "a")]).len(), 2);
    }
}
