//! The fold at the end of a stage, over gap-free runs of elements.

use phalanx_core::{
    operation::{ErrorKind, OperationError, TaskContext},
    registry::{Column, Fold},
    wire::NotRunReason,
};

use super::{
    Pipeline,
    input::as_input,
    ledger::{Ledger, first_from},
    pipeline::StepFailure,
};

/// The fold at the end of a stage. It runs from the ledger's `at` up to `up_to`.
pub(super) struct Folding<'p> {
    pipeline: &'p Pipeline,
    fold: Box<dyn Fold + 'p>,
}

/// What a chunk adds to the ledger. Combining runs user code, so it happens before the ledger,
/// which others look at, is locked.
pub(super) enum Entry {
    /// A run ends: its partial result, and how many there are (none when nothing was absorbed).
    Folded {
        to: u32,
        outputs: u32,
        partial: Vec<u8>,
    },
    Failed {
        step: u32,
        error: OperationError,
    },
    /// The accumulator is gone.
    Broken {
        to: u32,
    },
}

impl Entry {
    /// Where it ends when it begins at `from`.
    pub(super) fn end(&self, from: u32) -> u32 {
        match self {
            Self::Folded { to, .. } | Self::Broken { to } => *to,
            Self::Failed { .. } => from + 1,
        }
    }
}

impl<'p> Folding<'p> {
    /// `None` when the stage does not fold.
    pub(super) fn of(pipeline: &'p Pipeline) -> Option<Self> {
        Some(Self { pipeline, fold: pipeline.fold()? })
    }

    /// Absorbs a chunk of a run that began at `from` (the ledger's `at`).
    pub(super) fn absorb(
        &mut self,
        from: u32,
        column: Column,
        mut failures: Vec<StepFailure>,
        context: &TaskContext,
    ) -> Vec<Entry> {
        let mut run = Run { from, entries: Vec::new() };
        let mut column = as_input(self.pipeline, self.pipeline.last(), column, &mut failures);
        failures.sort_by_key(|failure| failure.origin);
        failures.dedup_by_key(|failure| failure.origin);
        for StepFailure { origin, step, error } in failures {
            // A failed element ends a run, and takes all that it gave with it.
            let behind = column.split_off(first_from(&column.origins, 0, origin));
            self.absorb_run(&mut run, column, context);
            self.close_run(&mut run, origin);
            run.failed(step, error);
            column = from_origin(behind, origin + 1);
        }
        self.absorb_run(&mut run, column, context);
        run.entries
    }

    /// Goes on with an accumulator that was suspended: as if what it holds had just been absorbed.
    pub(super) fn resume(
        &mut self,
        from: u32,
        accumulator: &[u8],
        context: &TaskContext,
    ) -> Result<(), OperationError> {
        let last = self.pipeline.last();
        let mut rest = accumulator;
        let column = self.pipeline.steps()[last].decode(&mut rest, from, 1, usize::MAX);
        let column = column.map_err(|refusal| {
            OperationError::new(ErrorKind::Codec, format!("an accumulator was lost: {refusal}"))
        })?;
        self.fold.absorb(column, context).map_err(|failed| failed.0.error)
    }

    /// The accumulator of the run that began at `from`, to be resumed elsewhere; `None` when
    /// nothing was absorbed. Should it not serialize, `entries` say so.
    pub(super) fn suspend(
        &mut self,
        from: u32,
        to: u32,
        entries: &mut Vec<Entry>,
    ) -> Option<Vec<u8>> {
        for entry in self.close(from, to) {
            match entry {
                Entry::Folded { outputs: 1, partial, .. } => return Some(partial),
                Entry::Folded { .. } => {}
                failed => entries.push(failed),
            }
        }
        None
    }

    /// Ends the run that began at `from`.
    pub(super) fn close(&mut self, from: u32, to: u32) -> Vec<Entry> {
        let mut run = Run { from, entries: Vec::new() };
        self.close_run(&mut run, to);
        run.entries
    }

    /// Absorbs values of elements that have not failed so far.
    fn absorb_run(&mut self, run: &mut Run, mut column: Column, context: &TaskContext) {
        while !column.is_empty() {
            let Err(failed) = self.fold.absorb(column, context) else { return };
            let (failure, rest) = *failed;
            self.fail(run, failure.origin, failure.error);
            column = from_origin(rest, failure.origin + 1);
        }
    }

    /// The element at `origin` failed while it was folded: what was folded with it is lost.
    fn fail(&mut self, run: &mut Run, origin: u32, error: OperationError) {
        if origin > run.from {
            run.push(Entry::Broken { to: origin });
        }
        if origin == run.from {
            run.failed(self.pipeline.last() as u32, error);
        }
        if let Some(fold) = self.pipeline.fold() {
            self.fold = fold;
        }
    }

    fn close_run(&mut self, run: &mut Run, to: u32) {
        if to <= run.from {
            return;
        }
        let mut partial = Vec::new();
        match self.fold.finish(&mut partial) {
            Ok(any) => run.push(Entry::Folded { to, outputs: u32::from(any), partial }),
            // Nobody can say which element made the accumulator unwritable: the last one answers
            // for it, so that a run of one is blamed rightly.
            Err(error) => self.fail(run, to - 1, error),
        }
    }
}

/// The run in progress, and what has been said so far.
struct Run {
    from: u32,
    entries: Vec<Entry>,
}

impl Run {
    fn failed(&mut self, step: u32, error: OperationError) {
        self.push(Entry::Failed { step, error });
    }

    fn push(&mut self, entry: Entry) {
        self.from = entry.end(self.from);
        self.entries.push(entry);
    }
}

/// The values of elements from `origin` on.
fn from_origin(mut column: Column, origin: u32) -> Column {
    column.split_off(first_from(&column.origins, 0, origin))
}

impl Ledger {
    /// Writes down what a fold said.
    pub(super) fn fold_entries(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            match entry {
                Entry::Folded { to, outputs, partial } => self.folded(to, outputs, &partial),
                Entry::Failed { step, error } => self.failed(step, error),
                Entry::Broken { to } => self.not_run(to, NotRunReason::FoldBroken),
            }
        }
    }
}
