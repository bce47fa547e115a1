//! Puts runs of positions back into order.

use std::collections::BTreeMap;

/// Holds what came too early, and reorder it in the order of positions.
#[derive(Debug, Clone)]
pub(crate) struct ReorderBuffer<T> {
    /// The position that comes next.
    next: u64,
    /// By first position: one past the last, and what came. Bounded by the job's byte credit.
    held: BTreeMap<u64, (u64, T)>,
}

impl<T> Default for ReorderBuffer<T> {
    fn default() -> Self {
        Self { next: 0, held: BTreeMap::new() }
    }
}

impl<T> ReorderBuffer<T> {
    /// Takes what became of positions `from..to`.
    pub(crate) fn insert(&mut self, from: u64, to: u64, item: T) {
        debug_assert!(from >= self.next && from < to, "each position is settled once");
        self.held.insert(from, (to, item));
    }

    /// The next in order, if it is here.
    pub(crate) fn release(&mut self) -> Option<T> {
        let entry = self.held.first_entry()?;
        if *entry.key() != self.next {
            return None;
        }
        let (to, item) = entry.remove();
        self.next = to;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_too_early_waits_for_what_is_before_it() {
        let mut order = ReorderBuffer::default();
        order.insert(2, 5, "b");
        assert_eq!(order.release(), None);
        order.insert(5, 6, "c");
        order.insert(0, 2, "a");
        let released: Vec<_> = std::iter::from_fn(|| order.release()).collect();
        assert_eq!(released, ["a", "b", "c"]);
    }
}
