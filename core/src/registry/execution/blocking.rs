//! Blocking operations: `map`, `try_map`, `filter`, `flat_map`.

use super::{BlockingBody, Outputs, Run, caught, wrong_type};
use crate::{
    operation::{Data, Operation, OperationError, Result, TaskContext},
    registry::{Column, Failure},
};

pub(in crate::registry) struct Map<O>(pub(in crate::registry) O);

impl<O: Operation> BlockingBody for Map<O> {
    fn run(&self, input: Column, run: &mut Run<'_>) -> Column {
        run.each(input, |value, offset, cx, outputs| {
            outputs.push(self.0.execute(value, cx)?, offset);
            Ok(())
        })
    }
}

pub(in crate::registry) struct TryMap<O>(pub(in crate::registry) O);

impl<O: Operation> BlockingBody for TryMap<O> {
    fn run(&self, input: Column, run: &mut Run<'_>) -> Column {
        run.each(input, |value, offset, cx, outputs| {
            let output = self.0.execute(value, cx)?;
            outputs.push(Ok::<_, OperationError>(output), offset);
            Ok(())
        })
    }
}

pub(in crate::registry) struct Filter<O>(pub(in crate::registry) O);

impl<O: Operation<Output = bool>> BlockingBody for Filter<O>
where
    O::Input: Clone,
{
    fn run(&self, input: Column, run: &mut Run<'_>) -> Column {
        run.each(input, |value: O::Input, offset, cx, outputs| {
            if self.0.execute_ref(&value, cx)? {
                outputs.push(value, offset);
            }
            Ok(())
        })
    }
}

pub(in crate::registry) struct FlatMap<O>(pub(in crate::registry) O);

impl<O: Operation> BlockingBody for FlatMap<O>
where
    O::Output: IntoIterator<Item: Data>,
{
    fn run(&self, input: Column, run: &mut Run<'_>) -> Column {
        run.each(input, |value, offset, cx, outputs| {
            for item in self.0.execute(value, cx)? {
                outputs.push(item, offset);
            }
            Ok(())
        })
    }
}

impl Run<'_> {
    /// Runs `step` on each value, and continues after one that fails or panics. The other values
    /// and outputs of the failed element are removed.
    #[inline]
    fn each<T: Send + 'static, U: Send + 'static>(
        &mut self,
        input: Column,
        mut step: impl FnMut(T, u32, &TaskContext, &mut Outputs<U>) -> Result<()>,
    ) -> Column {
        let (values, offsets) = match input.into_values::<T>() {
            Ok(parts) => parts,
            Err(column) => {
                self.failures.extend(wrong_type(&column, self.name));
                return Column::new(Vec::<U>::new(), Vec::new());
            }
        };
        let mut outputs = Outputs::with_capacity(values.len());
        let mut elements = values.into_iter().zip(offsets);
        let mut failed = None;
        loop {
            let (cx, failed_before) = (self.cx, failed);
            let pass = caught(|| {
                for (value, offset) in elements.by_ref() {
                    if Some(offset) == failed_before {
                        continue;
                    }
                    cx.set_offset(offset);
                    step(value, offset, cx, &mut outputs)?;
                }
                Ok(())
            });
            let error = match pass {
                Ok(Ok(())) => return outputs.into_column(),
                Ok(Err(error)) => error,
                Err(panic) => panic.into_error(self.name),
            };
            let offset = self.cx.offset();
            outputs.remove_last(offset);
            if failed != Some(offset) {
                self.failures.push(Failure { offset, error });
            }
            failed = Some(offset);
        }
    }
}
