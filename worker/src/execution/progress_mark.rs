//! The progress of an execution, readable while it runs.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use phalanx_core::operation::TaskContext;

/// The progress of an execution. As long as its mark does not change, it runs the same element of
/// the same step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProgressMark {
    /// See [`StepPhase`]; 0 if unknown.
    pub(super) phase: u64,
    pub(crate) step: u32,
    /// The batch offset of the element.
    pub(crate) offset: u32,
}

/// The step that an execution runs: the number of steps begun, times 2^16, plus the index of the
/// step that runs, plus 1. The low half is 0 between steps. Only the driver of the execution writes
/// it.
#[derive(Debug, Default)]
pub(super) struct StepPhase(AtomicU64);

impl StepPhase {
    /// Step `step` begins to run on a chunk whose first element is at `first`.
    pub(super) fn begin(&self, step: usize, first: u32, context: &TaskContext) {
        // Pairs with the fence in `mark`: a reader that sees an offset of this step also sees that
        // the previous step has ended.
        fence(Ordering::Release);
        context.set_offset(first);
        let begun = self.0.load(Ordering::Relaxed) >> 16;
        self.0.store((begun + 1) << 16 | (step as u64 + 1), Ordering::Relaxed);
    }

    /// The step ends, if one runs.
    pub(super) fn end(&self) {
        self.0.fetch_and(!0xffff, Ordering::Relaxed);
    }

    /// The progress of the execution; `None` between steps.
    ///
    /// Phase and offset are two atomics. The second load of the phase, after the fence, rules out
    /// that the offset belongs to a later step than the phase: equal marks mean the same element. A
    /// mark with an older offset is possible; it differs from the next one, which only restarts the
    /// watchdog's clock.
    pub(super) fn mark(&self, context: &TaskContext) -> Option<ProgressMark> {
        let phase = self.0.load(Ordering::Relaxed);
        let step = (phase as u16).checked_sub(1)?;
        let offset = context.offset();
        fence(Ordering::Acquire);
        let mark = ProgressMark { phase, step: u32::from(step), offset };
        (self.0.load(Ordering::Relaxed) == phase).then_some(mark)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use phalanx_core::{
        id::{JobId, WorkerId},
        operation::Execution,
    };
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn marks_are_equal_only_while_the_same_element_of_the_same_step_runs() {
        let execution = Execution {
            job: JobId::new(),
            stage: 0,
            worker: WorkerId::new(),
            ranges: Default::default(),
            indexes: Vec::new(),
            cancelled: CancellationToken::new(),
        };
        let (context, phase) = (TaskContext::new(Arc::new(execution), 0), StepPhase::default());
        assert_eq!(phase.mark(&context), None, "no step runs");
        phase.begin(1, 7, &context);
        let first = phase.mark(&context).unwrap();
        assert_eq!((first.step, first.offset), (1, 7));
        assert_eq!(phase.mark(&context), Some(first), "the same element");
        context.set_offset(8);
        assert_ne!(phase.mark(&context), Some(first), "the next element");
        phase.end();
        assert_eq!(phase.mark(&context), None, "between steps");
        phase.begin(1, 7, &context);
        assert_ne!(phase.mark(&context), Some(first), "the same numbers in another chunk");
    }
}
