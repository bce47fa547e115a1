//! The reorder buffer: holds results until their predecessors have arrived.

use std::collections::BTreeMap;

/// Releases items in the order of their positions, whatever the order of their arrival.
#[derive(Debug, Clone)]
pub(crate) struct ReorderBuffer<T> {
    /// The position that comes next.
    next: u64,
    /// By first position: the position after the last, and the item. Bounded by the job account.
    held: BTreeMap<u64, (u64, T)>,
}

impl<T> Default for ReorderBuffer<T> {
    fn default() -> Self {
        Self { next: 0, held: BTreeMap::new() }
    }
}

impl<T> ReorderBuffer<T> {
    /// Inserts the item of the positions `from..to`.
    pub(crate) fn insert(&mut self, from: u64, to: u64, item: T) {
        debug_assert!(from >= self.next && from < to, "each position is settled once");
        self.held.insert(from, (to, item));
    }

    /// Takes the next item in order, if it has arrived.
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
    fn an_item_waits_for_its_predecessors() {
        let mut order = ReorderBuffer::default();
        order.insert(2, 5, "b");
        assert_eq!(order.release(), None);
        order.insert(5, 6, "c");
        order.insert(0, 2, "a");
        let released: Vec<_> = std::iter::from_fn(|| order.release()).collect();
        assert_eq!(released, ["a", "b", "c"]);
    }
}
