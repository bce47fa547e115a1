//! The values between two steps, with their type erased.

use std::{
    any::{Any, TypeId},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Values between two steps: a `Vec<T>` and, for each value, the offset in the batch of the
/// element that it comes from (never decreasing).
pub struct Column {
    values: Values,
    /// As many as there are values.
    pub origins: Vec<u32>,
}

impl Column {
    /// A column of these values; as many `origins` as values.
    pub fn new<T: Send + 'static>(values: Vec<T>, origins: Vec<u32>) -> Self {
        debug_assert_eq!(values.len(), origins.len(), "each value has one origin");
        let values = Values {
            vec: Some(Box::new(values)),
            release: release::<T>,
            split_off: split_off::<T>,
        };
        Self { values, origins }
    }

    /// Cuts it in two: what is left ends before the value `at`, what is returned begins with it.
    ///
    /// # Panics
    /// When there are fewer values.
    #[must_use = "the values behind the cut"]
    pub fn split_off(&mut self, at: usize) -> Self {
        let Values { release, split_off, .. } = self.values;
        let vec = self.values.vec.as_mut().and_then(|vec| split_off(&mut **vec, at));
        let values = Values { vec, release, split_off };
        Self { values, origins: self.origins.split_off(at) }
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// The values, if they are of type `T`.
    pub fn values<T: 'static>(&self) -> Option<&[T]> {
        self.values.vec.as_ref()?.downcast_ref::<Vec<T>>().map(Vec::as_slice)
    }

    /// Values and origins, if the values are of type `T`.
    ///
    /// # Errors
    /// The column itself where they are not.
    pub fn into_values<T: 'static>(mut self) -> Result<(Vec<T>, Vec<u32>), Self> {
        match self.values.vec.take().map(|vec| vec.downcast::<Vec<T>>()) {
            Some(Ok(values)) => Ok((*values, self.origins)),
            Some(Err(vec)) => {
                self.values.vec = Some(vec);
                Err(self)
            }
            None => Err(self),
        }
    }

    /// The type of `Vec<T>`.
    pub(super) fn vec_type(&self) -> Option<TypeId> {
        self.values.vec.as_deref().map(Any::type_id)
    }
}

impl fmt::Debug for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Column").field("origins", &self.origins).finish_non_exhaustive()
    }
}

/// A `Vec<T>`; `None` once it was taken.
struct Values {
    vec: Option<Box<dyn Any + Send>>,
    release: fn(Box<dyn Any + Send>),
    split_off: fn(&mut dyn Any, usize) -> Option<Box<dyn Any + Send>>,
}

impl Drop for Values {
    fn drop(&mut self) {
        if let Some(vec) = self.vec.take() {
            (self.release)(vec);
        }
    }
}

fn split_off<T: Send + 'static>(vec: &mut dyn Any, at: usize) -> Option<Box<dyn Any + Send>> {
    let behind = vec.downcast_mut::<Vec<T>>()?.split_off(at);
    Some(Box::new(behind))
}

fn release<T: 'static>(vec: Box<dyn Any + Send>) {
    if let Ok(vec) = vec.downcast::<Vec<T>>() {
        drop_values(*vec);
    }
}

/// Drops values of a user's type, whose `drop` may panic: one by one, because a second panic in
/// one sweep would abort the process.
pub(super) fn drop_values<T>(values: Vec<T>) {
    if !std::mem::needs_drop::<T>() {
        return;
    }
    let mut values = values.into_iter();
    while let Err(payload) = catch_unwind(AssertUnwindSafe(|| values.by_ref().for_each(drop))) {
        // The payload is a user's value as well.
        std::mem::forget(payload);
    }
}
