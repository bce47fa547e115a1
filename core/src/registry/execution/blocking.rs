//! Blocking operations: `map`, `try_map`, `filter`, `flat_map`.

use super::{BlockingBody, Outputs, Run, caught, mistaken};
use crate::{
    operation::{Data, Operation, OperationError, Result, TaskContext},
    registry::{Column, Failure},
};

pub(in crate::registry) struct Map<O>(pub(in crate::registry) O);

impl<O: Operation> BlockingBody for Map<O> {
    fn run(&self, input: Column, run: &mut Run<'_>) -> Column {
        run.each(input, |value, origin, cx, outputs| {
            outputs.push(self.0.execute(value, cx)?, origin);
            Ok(())
        })
    }
}

pub(in crate::registry) struct TryMap<O>(pub(in crate::registry) O);

impl<O: Operation> BlockingBody for TryMap<O> {
    fn run(&self, input: Column, run: &mut Run<'_>) -> Column {
        run.each(input, |value, origin, cx, outputs| {
            let output = self.0.execute(value, cx)?;
            outputs.push(Ok::<_, OperationError>(output), origin);
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
        run.each(input, |value: O::Input, origin, cx, outputs| {
            if self.0.execute_ref(&value, cx)? {
                outputs.push(value, origin);
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
        run.each(input, |value, origin, cx, outputs| {
            for item in self.0.execute(value, cx)? {
                outputs.push(item, origin);
            }
            Ok(())
        })
    }
}

impl Run<'_> {
    /// Runs `step` on each value; goes on behind one that fails or panics. What else came of the
    /// same element is taken back and not run.
    #[inline]
    fn each<T: Send + 'static, U: Send + 'static>(
        &mut self,
        input: Column,
        mut step: impl FnMut(T, u32, &TaskContext, &mut Outputs<U>) -> Result<()>,
    ) -> Column {
        let (values, origins) = match input.into_values::<T>() {
            Ok(parts) => parts,
            Err(column) => {
                self.failures.extend(mistaken(&column, self.name));
                return Column::new(Vec::<U>::new(), Vec::new());
            }
        };
        let mut outputs = Outputs::with_capacity(values.len());
        let mut elements = values.into_iter().zip(origins);
        let mut failed = None;
        loop {
            let (cx, dead) = (self.cx, failed);
            let pass = caught(|| {
                for (value, origin) in elements.by_ref() {
                    if Some(origin) == dead {
                        continue;
                    }
                    cx.set_offset(origin);
                    step(value, origin, cx, &mut outputs)?;
                }
                Ok(())
            });
            let error = match pass {
                Ok(Ok(())) => return outputs.into_column(),
                Ok(Err(error)) => error,
                Err(panic) => panic.into_error(self.name),
            };
            let origin = self.cx.offset();
            outputs.take_back(origin);
            if failed != Some(origin) {
                self.failures.push(Failure { origin, error });
            }
            failed = Some(origin);
        }
    }
}
