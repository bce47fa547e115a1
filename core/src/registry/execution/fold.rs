//! Folds: monoids, and operations from `(T, T)` to `T`.

use super::{
    Chunk, Elements, OnThisThread, Queue, RunChunk, State, another_type, caught, wrong_type,
};
use crate::{
    operation::{Data, ErrorKind, Monoid, Operation, OperationError, Result, TaskContext},
    registry::{
        Column, FailedElement, Fold,
        description::VerbEntry,
        type_codec::{Encoding, Unencoded},
        values::{Guarded, Values},
    },
};

pub(in crate::registry) fn fold<M: Monoid>(state: &State, chunk: &mut Chunk<'_>) -> Result<()> {
    combine_all(chunk, state.downcast_ref::<M>(), M::combine)
}

pub(in crate::registry) fn reduce<T: Data, O: Operation<Input = (T, T), Output = T>>(
    state: &State,
    chunk: &mut Chunk<'_>,
) -> Result<()> {
    combine_all(chunk, state.downcast_ref::<O>(), |operation, a, b, cx| {
        operation.execute((a, b), cx)
    })
}

/// Combines the inputs into the accumulator. On failure, the accumulator is lost.
fn combine_all<S, T: Data>(
    chunk: &mut Chunk<'_>,
    state: Option<&S>,
    combine: impl Fn(&S, T, T, &TaskContext) -> Result<T>,
) -> Result<()> {
    let (Some(state), Some((inputs, accumulators, elements))) = (state, chunk.parts::<T, T>())
    else {
        return Err(another_type());
    };
    for value in inputs {
        elements.begin();
        let combined = match accumulators.pop() {
            Some(accumulator) => combine(state, accumulator, value, elements.cx)?,
            None => value,
        };
        accumulators.push(combined);
    }
    Ok(())
}

/// The inputs that have not begun, as values again.
pub(in crate::registry) fn rest<T: Data>(mut queue: Queue) -> Box<dyn Values> {
    let mut values: Vec<T> = Vec::new();
    if let Some(inputs) = queue.downcast_mut::<std::vec::IntoIter<T>>() {
        for value in inputs {
            values.push(value);
        }
    }
    Box::new(values)
}

/// A fold in progress.
pub(super) struct Folding<'a> {
    pub(super) name: &'a str,
    pub(super) entry: &'a VerbEntry,
    pub(super) state: &'a State,
    pub(super) combine: RunChunk,
    pub(super) rest: fn(Queue) -> Box<dyn Values>,
    /// At most one value.
    pub(super) accumulator: Guarded,
}

/// A failure with the values after its element. Other values that were made from the element must
/// not be folded.
fn failed(failure: FailedElement, mut rest: Column) -> Box<(FailedElement, Column)> {
    let after = rest.offsets.partition_point(|other| *other <= failure.offset);
    Box::new((failure, rest.split_off(after)))
}

impl Fold for Folding<'_> {
    fn absorb(
        &mut self,
        input: Column,
        cx: &TaskContext,
    ) -> Result<(), Box<(FailedElement, Column)>> {
        let _running = OnThisThread::of(self.name);
        let (queue, offsets) = match self.entry.input.queue(input) {
            Ok(parts) => parts,
            Err(column) => {
                let failure = wrong_type(&column.offsets, self.name).into_iter().next();
                return failure.map_or(Ok(()), |failure| Err(failed(failure, column)));
            }
        };
        let outputs = std::mem::replace(&mut self.accumulator, self.entry.output.values(1));
        let elements = Elements::new(offsets, 0, cx);
        let mut chunk = Chunk { name: self.name, queue, outputs, elements };
        let error = match caught(|| (self.combine)(self.state, &mut chunk)) {
            Ok(Ok(())) => {
                self.accumulator = chunk.outputs;
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(panic) => panic.into_error(self.name),
        };
        let Chunk { queue, elements, .. } = chunk;
        let failure = FailedElement { offset: elements.offset, error };
        let mut offsets = elements.offsets;
        offsets.drain(..elements.begun);
        let rest = Column::of((self.rest)(queue), offsets);
        Err(failed(failure, rest))
    }

    fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<bool, OperationError> {
        let accumulator = std::mem::replace(&mut self.accumulator, self.entry.output.values(1));
        if accumulator.len() == 0 {
            return Ok(false);
        }
        match self.entry.output.encode(&accumulator, 0..1, Encoding::new(bytes, None)) {
            Ok(()) => Ok(true),
            Err((_, Unencoded::Panicked(panic))) => Err(panic.into_error(self.name)),
            Err((_, error)) => Err(OperationError::new(ErrorKind::Codec, error.to_string())),
        }
    }
}
