//! A chunk of elements that is running.

use std::any::Any;

use super::super::values::Guarded;
use crate::{
    codec::Encodings,
    operation::{OperationError, TaskContext},
};

/// The state of an operation: a value of its type.
pub(in crate::registry) type State = dyn Any + Send + Sync;

/// The values of a column that have not begun to run: a `vec::IntoIter<T>`.
pub(in crate::registry) type Queue = Box<dyn Any + Send>;

/// Runs an operation on the elements of a chunk until one fails. Compiled once for each operation
/// and verb; what panics catches its caller.
pub(in crate::registry) type RunChunk = fn(&State, &mut Chunk<'_>) -> Result<(), OperationError>;

/// As [`RunChunk`], with outputs that are encoded as they are made.
pub(in crate::registry) type RunEncoded =
    fn(&State, &mut Chunk<'_, Encodings>) -> Result<(), OperationError>;

/// The inputs and outputs of a chunk.
pub(in crate::registry) struct Chunk<'a, Outputs = Guarded> {
    /// The name of the operation.
    pub(super) name: &'a str,
    pub(super) queue: Queue,
    /// The outputs so far; in a fold the accumulator, if there is one. Encoded ones may end with
    /// items of the element that began last, which are not in `elements.made` yet.
    pub(super) outputs: Outputs,
    pub(super) elements: Elements<'a>,
}

/// The elements of a chunk: which of them runs, and which of them made the outputs.
pub(in crate::registry) struct Elements<'a> {
    /// The batch offset of each input.
    pub(super) offsets: Vec<u32>,
    /// The number of inputs that have begun.
    pub(super) begun: usize,
    /// The batch offset of the input that began last.
    pub(super) offset: u32,
    /// The batch offset of the element that failed last, whose other values do not run.
    pub(super) failed: Option<u32>,
    /// The batch offset of each output.
    pub(super) made: Vec<u32>,
    /// The number of the input of each output, if they are asked for.
    pub(super) sources: Option<Vec<u32>>,
    pub(in crate::registry) cx: &'a TaskContext,
}

impl<'a> Elements<'a> {
    pub(super) fn new(offsets: Vec<u32>, made: usize, cx: &'a TaskContext) -> Self {
        let made = Vec::with_capacity(made);
        let offset = cx.offset();
        Self { offsets, begun: 0, offset, failed: None, made, sources: None, cx }
    }

    /// Begins with the next input. If it returns `false`, the value must be skipped.
    #[inline]
    pub(in crate::registry) fn begin(&mut self) -> bool {
        if let Some(offset) = self.offsets.get(self.begun) {
            self.offset = *offset;
        }
        self.begun += 1;
        if self.failed == Some(self.offset) {
            return false;
        }
        self.cx.set_offset(self.offset);
        true
    }

    /// Records one more output of the input that began last.
    #[inline]
    pub(in crate::registry) fn made_one(&mut self) {
        self.made.push(self.offset);
    }

    /// Records that the input that began last has made all outputs up to the number `outputs`.
    #[inline]
    pub(in crate::registry) fn made_up_to(&mut self, outputs: usize) {
        self.made.resize(outputs, self.offset);
    }

    /// As [`made_one`](Self::made_one), if an input can have any number of outputs.
    #[inline]
    pub(in crate::registry) fn made_item(&mut self) {
        self.made_one();
        if let Some(sources) = &mut self.sources {
            sources.push(self.begun as u32 - 1);
        }
    }
}

impl<'a> Chunk<'a> {
    /// The inputs and outputs, if they are of these types.
    #[inline]
    pub(in crate::registry) fn parts<T: 'static, U: 'static>(
        &mut self,
    ) -> Option<(&mut std::vec::IntoIter<T>, &mut Vec<U>, &mut Elements<'a>)> {
        let inputs = self.queue.downcast_mut()?;
        let outputs = self.outputs.vec_mut()?;
        Some((inputs, outputs, &mut self.elements))
    }
}

/// Outputs of which the last can be dropped.
pub(super) trait Shorten {
    /// Drops the last outputs, until `keep` are left.
    fn shorten(&mut self, keep: usize);
}

impl Shorten for Guarded {
    fn shorten(&mut self, keep: usize) {
        Self::shorten(self, keep);
    }
}

impl Shorten for Encodings {
    fn shorten(&mut self, keep: usize) {
        self.truncate(keep);
    }
}

/// Removes the outputs of the element at `offset`, which is the last one: an element has all of its
/// outputs or none.
pub(super) fn remove_last(outputs: &mut impl Shorten, made: &mut Vec<u32>, offset: u32) {
    let keep = made.partition_point(|known| *known < offset);
    made.truncate(keep);
    outputs.shorten(keep);
}
