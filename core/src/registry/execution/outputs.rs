//! The outputs of a chunk while it runs.

use super::super::column::{Column, drop_values};

/// Values of a user's type; what is left in it is dropped under a guard.
pub(in crate::registry) struct Guarded<T>(Vec<T>);

impl<T> Guarded<T> {
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

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        drop_values(self.take());
    }
}

/// Values with their origins.
pub(super) struct Outputs<T> {
    values: Guarded<T>,
    origins: Vec<u32>,
}

impl<T> Outputs<T> {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { values: Guarded::with_capacity(capacity), origins: Vec::with_capacity(capacity) }
    }

    #[inline]
    pub(super) fn push(&mut self, value: T, origin: u32) {
        self.values.push(value);
        self.origins.push(origin);
    }

    /// Takes back what came of the element at `origin`, which was the last one: an element
    /// succeeds with all its outputs or with none.
    pub(super) fn take_back(&mut self, origin: u32) {
        let keep = self.origins.partition_point(|known| *known < origin);
        self.origins.truncate(keep);
        drop_values(self.values.0.split_off(keep));
    }
}

impl<T: Send + 'static> Outputs<T> {
    pub(super) fn into_column(mut self) -> Column {
        Column::new(self.values.take(), self.origins)
    }
}
