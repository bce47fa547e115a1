//! Combining the values of many keys at once.

use super::{OnThisThread, Queue, State, another_type, caught, wrong_type};
use crate::{
    operation::{Data, Monoid, Operation, OperationError, Result, TaskContext},
    registry::{
        Accumulators, Column,
        description::VerbEntry,
        values::{Guarded, Values},
    },
};

/// How values of many keys are combined with an operation. Compiled once for each operation that
/// folds.
#[derive(Debug, Clone, Copy)]
pub(in crate::registry) struct GroupRunner {
    pub(super) new: fn() -> Box<dyn Values>,
    pub(super) combine: fn(&State, &mut GroupChunk<'_>) -> Result<()>,
    pub(super) finish: fn(Guarded) -> Option<Finished>,
}

/// The accumulators of the groups that have not failed, and the numbers of these groups.
pub(super) type Finished = (Box<dyn Values>, Vec<u32>);

impl GroupRunner {
    pub(in crate::registry) const fn fold<M: Monoid>() -> Self {
        Self {
            new: new::<M::Elem>,
            combine: |state, chunk| combine_all(chunk, state.downcast_ref::<M>(), M::combine),
            finish: finish::<M::Elem>,
        }
    }

    pub(in crate::registry) const fn reduce<T: Data, O: Operation<Input = (T, T), Output = T>>()
    -> Self {
        Self {
            new: new::<T>,
            combine: |state, chunk| {
                combine_all(chunk, state.downcast_ref::<O>(), |operation, a, b, cx| {
                    operation.execute((a, b), cx)
                })
            },
            finish: finish::<T>,
        }
    }
}

/// Values that are being combined with those of their groups.
pub(in crate::registry) struct GroupChunk<'a> {
    queue: Queue,
    /// A `Vec<Option<T>>`: the accumulator of each group, and `None` if one of its values failed.
    accumulators: &'a mut Guarded,
    /// The group of each value.
    groups: &'a [u32],
    /// The batch offset of each value.
    offsets: &'a [u32],
    /// The number of values that have begun.
    begun: usize,
    cx: &'a TaskContext,
}

fn new<T: Data>() -> Box<dyn Values> {
    Box::new(Vec::<Option<T>>::new())
}

fn finish<T: Data>(mut accumulators: Guarded) -> Option<Finished> {
    let accumulators = std::mem::take(accumulators.vec_mut::<Option<T>>()?);
    let groups = (0..).zip(&accumulators).filter(|(_, value)| value.is_some());
    let groups = groups.map(|(group, _)| group).collect();
    let values: Vec<T> = accumulators.into_iter().flatten().collect();
    Some((Box::new(values), groups))
}

/// Combines values with the accumulators of their groups. On failure, that of the group is lost.
fn combine_all<S, T: Data>(
    chunk: &mut GroupChunk<'_>,
    state: Option<&S>,
    combine: impl Fn(&S, T, T, &TaskContext) -> Result<T>,
) -> Result<()> {
    let (Some(state), Some(values), Some(accumulators)) = (
        state,
        chunk.queue.downcast_mut::<std::vec::IntoIter<T>>(),
        chunk.accumulators.vec_mut::<Option<T>>(),
    ) else {
        return Err(another_type());
    };
    for value in values {
        let number = chunk.begun;
        chunk.begun += 1;
        let (Some(group), Some(offset)) = (chunk.groups.get(number), chunk.offsets.get(number))
        else {
            return Err(another_type());
        };
        match accumulators.get_mut(*group as usize) {
            None => accumulators.push(Some(value)),
            Some(accumulator) => {
                if let Some(before) = accumulator.take() {
                    chunk.cx.set_offset(*offset);
                    *accumulator = Some(combine(state, before, value, chunk.cx)?);
                }
            }
        }
    }
    Ok(())
}

/// A step that combines the values of each key.
pub(super) struct Groups<'a> {
    pub(super) name: &'a str,
    pub(super) entry: &'a VerbEntry,
    pub(super) state: &'a State,
    pub(super) runner: GroupRunner,
}

impl Groups<'_> {
    /// Combines each value with the accumulator of its group, and goes on after a failure. Returns the
    /// numbers of the values at which a group failed, with the errors.
    pub(super) fn combine(
        &self,
        accumulators: &mut Accumulators,
        groups: &[u32],
        input: Column,
        cx: &TaskContext,
    ) -> Vec<(usize, OperationError)> {
        let _running = OnThisThread::of(self.name);
        let (queue, offsets) = match self.entry.input.queue(input) {
            Ok(parts) => parts,
            Err(column) => {
                let failure = wrong_type(&column.offsets, self.name).into_iter().next();
                return failure.map(|failure| (0, failure.error)).into_iter().collect();
            }
        };
        let accumulators = &mut accumulators.0;
        let mut failures = Vec::new();
        let mut chunk = GroupChunk { queue, accumulators, groups, offsets: &offsets, begun: 0, cx };
        loop {
            let begun = chunk.begun;
            let error = match caught(|| (self.runner.combine)(self.state, &mut chunk)) {
                Ok(Ok(())) => return failures,
                Ok(Err(error)) => error,
                Err(panic) => panic.into_error(self.name),
            };
            if chunk.begun == begun {
                // No value has begun, so none would begin in another pass.
                failures.push((begun, error));
                return failures;
            }
            failures.push((chunk.begun - 1, error));
        }
    }
}
