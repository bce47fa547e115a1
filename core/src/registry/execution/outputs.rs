//! The outputs of a chunk while it runs.

use super::super::column::{Column, drop_values};

/// Values with their origins. What is left in it is dropped under a guard.
pub(in crate::registry) struct Outputs<T> {
    values: Vec<T>,
    origins: Vec<u32>,
}

impl<T> Outputs<T> {
    pub(in crate::registry) fn with_capacity(capacity: usize) -> Self {
        Self { values: Vec::with_capacity(capacity), origins: Vec::with_capacity(capacity) }
    }

    #[inline]
    pub(in crate::registry) fn push(&mut self, value: T, origin: u32) {
        self.values.push(value);
        self.origins.push(origin);
    }

    /// Takes back what came of the element at `origin`, which was the last one: an element
    /// succeeds with all its outputs or with none.
    pub(super) fn take_back(&mut self, origin: u32) {
        let keep = self.origins.partition_point(|known| *known < origin);
        self.origins.truncate(keep);
        drop_values(self.values.split_off(keep));
    }
}

impl<T: Send + 'static> Outputs<T> {
    pub(in crate::registry) fn into_column(mut self) -> Column {
        Column::new(std::mem::take(&mut self.values), std::mem::take(&mut self.origins))
    }
}

impl<T> Drop for Outputs<T> {
    fn drop(&mut self) {
        drop_values(std::mem::take(&mut self.values));
    }
}
