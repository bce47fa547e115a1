//! The items of an operation, encoded as they are made.

use std::{marker::PhantomData, sync::Arc};

use serde::Serialize;

use super::{Data, ErrorKind, OperationError, Result};
use crate::codec::{CodecError, Encodings, Known};

/// Where [`Operation::execute_items`](super::Operation::execute_items) puts its items, which are
/// read as values of type `T`.
#[derive(Debug)]
pub struct Items<'a, T> {
    name: &'a str,
    encodings: &'a mut Encodings,
    known: Arc<Known>,
    item: PhantomData<fn(T)>,
}

impl<'a, T: Data> Items<'a, T> {
    /// Appends the items of the operation `name` to these.
    pub(crate) fn new(name: &'a str, encodings: &'a mut Encodings) -> Self {
        Self { name, encodings, known: Known::of::<T>(), item: PhantomData }
    }

    /// The number of items so far, of all elements.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.encodings.len()
    }

    /// Adds an item.
    ///
    /// # Errors
    /// If it does not serialize.
    #[inline]
    pub fn push(&mut self, item: &T) -> Result<()> {
        let pushed = self.encodings.push(item, &mut self.known);
        pushed.map_err(|error| unencodable(self.name, &error))
    }

    /// Adds an item that borrows what a `T` owns, and is written as that is.
    ///
    /// # Errors
    /// If it does not serialize.
    #[inline]
    pub fn push_view<Q: Serialize + ?Sized>(&mut self, item: &Q) -> Result<()> {
        let pushed = self.encodings.push_view::<T, Q>(item, &mut self.known);
        pushed.map_err(|error| unencodable(self.name, &error))
    }
}

#[cold]
fn unencodable(name: &str, error: &CodecError) -> OperationError {
    OperationError::new(ErrorKind::Codec, format!("an output of operation `{name}`: {error}"))
}
