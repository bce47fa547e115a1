//! The outputs of a chunk that is running.

use super::super::column::{Column, drop_values};

/// Values of a user's type; panics of their `drop` are caught.
pub(in crate::registry) struct GuardedValues<T>(Vec<T>);

impl<T> GuardedValues<T> {
    pub(in crate::registry) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    #[inline]
    pub(in crate::registry) fn push(&mut self, value: T) {
        self.0.push(value);
    }

    pub(in crate::registry) fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.0)
    }
}

impl<T> Drop for GuardedValues<T> {
    fn drop(&mut self) {
        drop_values(self.take());
    }
}

/// Output values with the batch offset of each.
pub(super) struct Outputs<T> {
    values: GuardedValues<T>,
    offsets: Vec<u32>,
}

impl<T> Outputs<T> {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            values: GuardedValues::with_capacity(capacity),
            offsets: Vec::with_capacity(capacity),
        }
    }

    #[inline]
    pub(super) fn push(&mut self, value: T, offset: u32) {
        self.values.push(value);
        self.offsets.push(offset);
    }

    /// Removes the outputs of the element at `offset`, which is the last one: an element has all of
    /// its outputs or none.
    pub(super) fn remove_last(&mut self, offset: u32) {
        let keep = self.offsets.partition_point(|known| *known < offset);
        self.offsets.truncate(keep);
        drop_values(self.values.0.split_off(keep));
    }
}

impl<T: Send + 'static> Outputs<T> {
    pub(super) fn into_column(mut self) -> Column {
        Column::new(self.values.take(), self.offsets)
    }
}
