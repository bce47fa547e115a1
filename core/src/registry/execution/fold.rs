//! Folds: monoids, and operations from `(T, T)` to `T`.

use super::{FoldBody, caught, wrong_type};
use crate::{
    codec,
    operation::{Data, ErrorKind, Monoid, Operation, OperationError, Result, TaskContext},
    registry::{Column, Failure, Fold, column::drop_values},
};

pub(in crate::registry) struct FoldMonoid<M>(pub(in crate::registry) M);

impl<M: Monoid> FoldBody for FoldMonoid<M> {
    fn start<'a>(&'a self, name: &'a str) -> Box<dyn Fold + 'a> {
        let combine = |a, b, cx: &TaskContext| self.0.combine(a, b, cx);
        Box::new(Folding { name, combine, accumulator: None })
    }
}

pub(in crate::registry) struct ReduceOperation<O>(pub(in crate::registry) O);

impl<T: Data, O: Operation<Input = (T, T), Output = T>> FoldBody for ReduceOperation<O> {
    fn start<'a>(&'a self, name: &'a str) -> Box<dyn Fold + 'a> {
        let combine = |a, b, cx: &TaskContext| self.0.execute((a, b), cx);
        Box::new(Folding { name, combine, accumulator: None })
    }
}

struct Folding<'a, T, F> {
    name: &'a str,
    combine: F,
    accumulator: Option<T>,
}

impl<T: Data, F: Send + Fn(T, T, &TaskContext) -> Result<T>> Fold for Folding<'_, T, F> {
    fn absorb(&mut self, input: Column, cx: &TaskContext) -> Result<(), Box<(Failure, Column)>> {
        let (values, offsets) = match input.into_values::<T>() {
            Ok(parts) => parts,
            Err(mut column) => {
                let Some(failure) = wrong_type(&column, self.name).into_iter().next() else {
                    return Ok(());
                };
                let after = column.offsets.partition_point(|offset| *offset <= failure.offset);
                return Err(Box::new((failure, column.split_off(after))));
            }
        };
        let mut elements = values.into_iter().zip(offsets);
        let before = self.accumulator.take();
        let outcome = caught(|| {
            let Some(mut accumulator) = before.or_else(|| elements.next().map(|(first, _)| first))
            else {
                return Ok(None);
            };
            for (value, offset) in elements.by_ref() {
                cx.set_offset(offset);
                accumulator = (self.combine)(accumulator, value, cx)?;
            }
            Ok(Some(accumulator))
        });
        let error = match outcome {
            Ok(Ok(accumulator)) => {
                self.accumulator = accumulator;
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(panic) => panic.into_error(self.name),
        };
        let offset = cx.offset();
        let (values, offsets) = elements.unzip();
        let mut rest = Column::new::<T>(values, offsets);
        // Other values that were made from the failed element must not be folded.
        let after = rest.offsets.partition_point(|other| *other <= offset);
        let rest = rest.split_off(after);
        Err(Box::new((Failure { offset, error }, rest)))
    }

    fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<bool, OperationError> {
        let Some(accumulator) = self.accumulator.take() else {
            return Ok(false);
        };
        let accumulator = [accumulator];
        let before = bytes.len();
        let outcome = caught(|| codec::encode_into(&accumulator[0], bytes));
        drop_values(accumulator.into());
        match outcome {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => Err(OperationError::new(ErrorKind::Codec, error.to_string())),
            Err(panic) => {
                bytes.truncate(before);
                Err(panic.into_error(self.name))
            }
        }
    }
}

impl<T, F> Drop for Folding<'_, T, F> {
    fn drop(&mut self) {
        drop_values(self.accumulator.take().into_iter().collect());
    }
}
