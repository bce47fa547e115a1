//! Columns: the values between two steps, with their type erased.

use std::fmt;

use super::values::{Guarded, Values};

/// Values between two steps: a `Vec<T>` and, for each value, the batch offset of the element that
/// it was made from (never decreasing).
pub struct Column {
    values: Guarded,
    /// The batch offset of each value; as many as there are values.
    pub offsets: Vec<u32>,
    /// For the outputs of a step that was asked for it: the number of the input of each.
    pub sources: Option<Vec<u32>>,
}

impl Column {
    /// A column of these values; `offsets` has one batch offset for each value.
    pub fn new<T: Send + 'static>(values: Vec<T>, offsets: Vec<u32>) -> Self {
        debug_assert_eq!(values.len(), offsets.len(), "each value has one offset");
        Self::of(Box::new(values), offsets)
    }

    pub(super) fn of(values: Box<dyn Values>, offsets: Vec<u32>) -> Self {
        Self { values: Guarded::new(values), offsets, sources: None }
    }

    pub(super) fn from_parts(values: Guarded, offsets: Vec<u32>) -> Self {
        Self { values, offsets, sources: None }
    }

    /// The same column, which tells the input of each value.
    pub(super) fn with_sources(self, sources: Option<Vec<u32>>) -> Self {
        Self { sources, ..self }
    }

    pub(super) fn into_parts(self) -> (Guarded, Vec<u32>) {
        (self.values, self.offsets)
    }

    pub(super) fn guarded(&self) -> &Guarded {
        &self.values
    }

    /// A column without values or type; no step accepts it.
    pub fn empty() -> Self {
        Self::new(Vec::<()>::new(), Vec::new())
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The values, if they are of type `T`.
    pub fn values<T: 'static>(&self) -> Option<&[T]> {
        self.values.vec().map(Vec::as_slice)
    }

    /// The values and their batch offsets, if the values are of type `T`.
    ///
    /// # Errors
    /// The column itself, if the values are of another type.
    pub fn into_values<T: 'static>(mut self) -> Result<(Vec<T>, Vec<u32>), Self> {
        match self.values.vec_mut() {
            Some(values) => Ok((std::mem::take(values), self.offsets)),
            None => Err(self),
        }
    }

    /// Splits off the values from number `at` on, into a new column.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        let at = at.min(self.offsets.len());
        let sources = self.sources.as_mut().map(|sources| sources.split_off(at));
        Self { values: self.values.split_off(at), offsets: self.offsets.split_off(at), sources }
    }
}

impl fmt::Debug for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Column").field("offsets", &self.offsets).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Column;

    #[test]
    fn a_column_returns_its_values_as_their_own_type_only() {
        let column = Column::new(vec![1u8, 2], vec![0, 5]);
        assert_eq!(column.values::<u16>(), None);
        let column = column.into_values::<u16>().unwrap_err();
        assert_eq!(column.into_values::<u8>().unwrap(), (vec![1, 2], vec![0, 5]));
    }

    #[test]
    fn a_column_splits_together_with_its_offsets() {
        let mut head = Column::new(vec!["a", "b", "c"], vec![0, 1, 1]);
        let tail = head.split_off(1);
        assert_eq!(head.into_values::<&str>().unwrap(), (vec!["a"], vec![0]));
        assert_eq!(tail.into_values::<&str>().unwrap(), (vec!["b", "c"], vec![1, 1]));
    }

    #[test]
    fn values_that_panic_while_they_are_dropped_are_all_dropped_and_no_panic_escapes() {
        static DROPPED: AtomicU32 = AtomicU32::new(0);
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                DROPPED.fetch_add(1, Ordering::Relaxed);
                std::panic::resume_unwind(Box::new("boom"));
            }
        }
        drop(Column::new(vec![Bomb, Bomb, Bomb], vec![0, 1, 2]));
        assert_eq!(DROPPED.load(Ordering::Relaxed), 3);
    }
}
