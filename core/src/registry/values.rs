//! The values of a column, with their type erased.
//!
//! What is generic here is compiled once for each type of a user, so it is little: everything that
//! can do without the type is elsewhere.

use std::{
    any::{Any, TypeId},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// A `Vec<T>`.
pub(super) trait Values: Any + Send {
    fn len(&self) -> usize;

    /// Drops the last values, until `keep` are left. If the `drop` of one panics, it is gone, and
    /// the call can be repeated.
    fn shorten(&mut self, keep: usize);

    /// Splits off the values from number `at` on; panics if there are fewer.
    fn split_off(&mut self, at: usize) -> Box<dyn Values>;
}

impl<T: Send + 'static> Values for Vec<T> {
    fn len(&self) -> usize {
        self.len()
    }

    fn shorten(&mut self, keep: usize) {
        while self.len() > keep {
            drop(self.pop());
        }
    }

    fn split_off(&mut self, at: usize) -> Box<dyn Values> {
        Box::new(self.split_off(at))
    }
}

/// Values whose `drop` may panic: they are dropped one by one and their panics are caught, because
/// a second panic while a `Vec` is dropped would abort the process.
pub(super) struct Guarded(Option<Box<dyn Values>>);

impl Guarded {
    pub(super) fn new(values: Box<dyn Values>) -> Self {
        Self(Some(values))
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |values| values.len())
    }

    /// The `TypeId` of the `Vec`.
    pub(super) fn vec_type(&self) -> Option<TypeId> {
        self.as_any().map(Any::type_id)
    }

    /// The values, if they are of type `T`.
    #[inline]
    pub(super) fn vec<T: 'static>(&self) -> Option<&Vec<T>> {
        self.as_any()?.downcast_ref()
    }

    /// The values, if they are of type `T`.
    #[inline]
    pub(super) fn vec_mut<T: 'static>(&mut self) -> Option<&mut Vec<T>> {
        self.as_any_mut()?.downcast_mut()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        self.0.as_deref().map(|values| values as &dyn Any)
    }

    fn as_any_mut(&mut self) -> Option<&mut dyn Any> {
        self.0.as_deref_mut().map(|values| values as &mut dyn Any)
    }

    /// Drops the last values, until `keep` are left.
    pub(super) fn shorten(&mut self, keep: usize) {
        if let Some(values) = self.0.as_deref_mut() {
            shorten(values, keep);
        }
    }

    pub(super) fn split_off(&mut self, at: usize) -> Self {
        Self(self.0.as_deref_mut().map(|values| values.split_off(at.min(values.len()))))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.shorten(0);
    }
}

/// Drops a value of a user, whose `drop` may panic.
pub(super) fn drop_guarded<T: Send + 'static>(value: T) {
    shorten(&mut vec![value], 0);
}

fn shorten(values: &mut dyn Values, keep: usize) {
    while let Err(payload) = catch_unwind(AssertUnwindSafe(|| values.shorten(keep))) {
        // The payload is a value of the user, too: dropping it may panic.
        std::mem::forget(payload);
    }
}
