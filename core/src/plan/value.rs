//! Programs that end in one value.

use std::fmt;

use super::{End, PlanError, Program};
use crate::{
    codec::{self, CodecError},
    operation::Data,
};

/// A program that ends in one value of type `V`.
///
/// Nothing runs before [`run`](Self::run) or [`start`](Self::start).
#[must_use = "a program does nothing until it is run"]
pub struct ValueProgram<V> {
    pub(crate) program: Program,
    /// Makes the value of what the job gave: one encoding, or none.
    pub(crate) decode: fn(Option<&[u8]>) -> Result<V, CodecError>,
}

impl<V> ValueProgram<V> {
    pub(super) fn new(
        program: Program,
        decode: fn(Option<&[u8]>) -> Result<V, CodecError>,
    ) -> Self {
        Self { program, decode }
    }

    /// The plan of this program, for people: stages, what is fused, pools.
    ///
    /// # Errors
    /// When the program cannot be run as it is written.
    pub fn explain(&self) -> Result<String, PlanError> {
        self.program.explain()
    }
}

impl<V: Data> ValueProgram<V> {
    pub(super) fn the_value(bytes: Option<&[u8]>) -> Result<V, CodecError> {
        // An absent value is read as an empty encoding: right for `()`, an error for others.
        codec::decode(bytes.unwrap_or_default())
    }
}

impl<T: Data> ValueProgram<Option<T>> {
    pub(super) fn perhaps_a_value(bytes: Option<&[u8]>) -> Result<Option<T>, CodecError> {
        bytes.map(codec::decode).transpose()
    }

    pub(super) fn perhaps_the_first(bytes: Option<&[u8]>) -> Result<Option<T>, CodecError> {
        bytes.map(|mut bytes| codec::decode_front(&mut bytes)).transpose()
    }
}

impl ValueProgram<()> {
    pub(super) fn nothing(_: Option<&[u8]>) -> Result<(), CodecError> {
        Ok(())
    }
}

impl<V> fmt::Debug for ValueProgram<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValueProgram").field(&self.program).finish()
    }
}

/// A program that ends in a fold: in one value of type `V`.
///
/// Nothing runs before [`run`](Self::run) or [`start`](Self::start).
#[must_use = "a program does nothing until it is run"]
#[derive(Debug)]
pub struct FoldProgram<V>(pub(crate) ValueProgram<V>);

impl<V> FoldProgram<V> {
    /// Combines by a tree whose shape depends on the length of the input alone, so that even
    /// floating-point sums have the same bits in each run. Costs some of the adaptive batching.
    pub fn deterministic(mut self) -> Self {
        if let End::Fold { deterministic, .. } = self.0.program.end_mut() {
            *deterministic = true;
        }
        self
    }

    /// The plan of this program, for people: stages, what is fused, pools.
    ///
    /// # Errors
    /// When the program cannot be run as it is written.
    pub fn explain(&self) -> Result<String, PlanError> {
        self.0.explain()
    }
}
