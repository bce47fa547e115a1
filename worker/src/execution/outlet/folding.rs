//! The fold at the end of a stage, over gap-free segments of the batch.

use phalanx_core::{
    operation::{ErrorKind, OperationError, TaskContext},
    registry::{Column, Fold},
    wire::NotRunReason,
};

use super::super::{
    Pipeline,
    input::as_input,
    ledger::{Ledger, first_from},
    pipeline::StepFailure,
};

/// The fold at the end of a stage. It accumulates the segment that begins at the next offset of
/// the ledger.
pub(in crate::execution) struct Folding<'p> {
    pipeline: &'p Pipeline,
    fold: Box<dyn Fold + 'p>,
}

/// An entry that a chunk adds to the ledger. Combining runs user code, so it happens before the
/// ledger is locked.
pub(in crate::execution) enum LedgerEntry {
    /// A segment ends at the offset `to` with a partial result; `outputs` is 0 if it is empty.
    Folded { to: u32, outputs: u32, partial: Vec<u8> },
    /// The elements up to `to` are done, and their outputs are in blocks.
    Written { to: u32 },
    /// The next element failed.
    Failed { step: u32, error: OperationError },
    /// The accumulator of the segment that ends at `to` is lost.
    Broken { to: u32 },
}

impl LedgerEntry {
    /// The offset at which the entry ends if it begins at `from`.
    pub(in crate::execution) fn end(&self, from: u32) -> u32 {
        match self {
            Self::Folded { to, .. } | Self::Written { to } | Self::Broken { to } => *to,
            Self::Failed { .. } => from + 1,
        }
    }
}

impl<'p> Folding<'p> {
    /// `None` if the stage does not fold.
    pub(in crate::execution) fn of(pipeline: &'p Pipeline) -> Option<Self> {
        Some(Self { pipeline, fold: pipeline.fold()? })
    }

    /// Absorbs a chunk into the segment that began at `from`. It ends at the first of the `gaps`.
    pub(in crate::execution) fn absorb(
        &mut self,
        from: u32,
        column: Column,
        mut failures: Vec<StepFailure>,
        gaps: &[u32],
        context: &TaskContext,
    ) -> Vec<LedgerEntry> {
        let mut entries = Entries { next_offset: from, entries: Vec::new() };
        let mut column = as_input(self.pipeline, self.pipeline.last(), column, &mut failures);
        failures.sort_by_key(|failure| failure.offset);
        failures.dedup_by_key(|failure| failure.offset);
        let mut gaps = gaps.iter().copied().peekable();
        for StepFailure { offset, step, error } in failures {
            while let Some(gap) = gaps.next_if(|gap| *gap < offset) {
                column = self.absorb_up_to(&mut entries, gap, column, context);
            }
            // A failed element ends the segment, and all its outputs are dropped.
            let rest = column.split_off(first_from(&column.offsets, 0, offset));
            self.absorb_values(&mut entries, column, context);
            self.end_segment(&mut entries, offset);
            entries.push_failed(step, error);
            column = from_offset(rest, offset + 1);
        }
        for gap in gaps {
            column = self.absorb_up_to(&mut entries, gap, column, context);
        }
        self.absorb_values(&mut entries, column, context);
        entries.entries
    }

    /// Absorbs the values of elements before a gap, and ends their segment; returns the other ones.
    fn absorb_up_to(
        &mut self,
        entries: &mut Entries,
        gap: u32,
        mut column: Column,
        context: &TaskContext,
    ) -> Column {
        let rest = column.split_off(first_from(&column.offsets, 0, gap));
        self.absorb_values(entries, column, context);
        self.end_segment(entries, gap);
        rest
    }

    /// Continues with an accumulator that [`suspend`](Self::suspend) has returned.
    pub(in crate::execution) fn resume(
        &mut self,
        from: u32,
        accumulator: &[u8],
        context: &TaskContext,
    ) -> Result<(), OperationError> {
        let last = self.pipeline.last();
        let mut rest = accumulator;
        let column = self.pipeline.steps()[last].decode(&mut rest, from, 1, usize::MAX);
        let column = column.map_err(|refusal| {
            let reason = format!("could not decode an accumulator: {refusal}");
            OperationError::new(ErrorKind::Codec, reason)
        })?;
        self.fold.absorb(column, context).map_err(|failed| failed.0.error)
    }

    /// Encodes the accumulator of the segment that began at `from`; `None` if it is empty. If it
    /// does not serialize, the failure is added to `entries`.
    pub(in crate::execution) fn suspend(
        &mut self,
        from: u32,
        to: u32,
        entries: &mut Vec<LedgerEntry>,
    ) -> Option<Vec<u8>> {
        for entry in self.finish(from, to) {
            match entry {
                LedgerEntry::Folded { outputs: 1, partial, .. } => return Some(partial),
                LedgerEntry::Folded { .. } => {}
                failed => entries.push(failed),
            }
        }
        None
    }

    /// Ends the segment that began at `from` at the offset `to`.
    pub(in crate::execution) fn finish(&mut self, from: u32, to: u32) -> Vec<LedgerEntry> {
        let mut entries = Entries { next_offset: from, entries: Vec::new() };
        self.end_segment(&mut entries, to);
        entries.entries
    }

    /// Absorbs the values of elements that have not failed so far.
    fn absorb_values(&mut self, entries: &mut Entries, mut column: Column, context: &TaskContext) {
        while !column.is_empty() {
            let Err(failed) = self.fold.absorb(column, context) else { return };
            let (failure, rest) = *failed;
            self.fail(entries, failure.offset, failure.error);
            column = from_offset(rest, failure.offset + 1);
        }
    }

    /// The element at `offset` failed in the fold: the accumulator is lost.
    fn fail(&mut self, entries: &mut Entries, offset: u32, error: OperationError) {
        if offset > entries.next_offset {
            entries.push(LedgerEntry::Broken { to: offset });
        }
        if offset == entries.next_offset {
            entries.push_failed(self.pipeline.last() as u32, error);
        }
        if let Some(fold) = self.pipeline.fold() {
            self.fold = fold;
        }
    }

    fn end_segment(&mut self, entries: &mut Entries, to: u32) {
        if to <= entries.next_offset {
            return;
        }
        let mut partial = Vec::new();
        match self.fold.finish(&mut partial) {
            Ok(any) => entries.push(LedgerEntry::Folded { to, outputs: u32::from(any), partial }),
            // Which element made the accumulator unserializable is unknown. The last one is
            // reported as failed, which is right once the leader has split the segment down to one
            // element.
            Err(error) => self.fail(entries, to - 1, error),
        }
    }
}

/// Entries so far, and the offset at which the next one begins.
struct Entries {
    next_offset: u32,
    entries: Vec<LedgerEntry>,
}

impl Entries {
    fn push_failed(&mut self, step: u32, error: OperationError) {
        self.push(LedgerEntry::Failed { step, error });
    }

    fn push(&mut self, entry: LedgerEntry) {
        self.next_offset = entry.end(self.next_offset);
        self.entries.push(entry);
    }
}

/// The values of the elements from `offset` on.
fn from_offset(mut column: Column, offset: u32) -> Column {
    column.split_off(first_from(&column.offsets, 0, offset))
}

impl Ledger {
    /// Records the entries of an outlet.
    pub(in crate::execution) fn record(&mut self, entries: Vec<LedgerEntry>) {
        for entry in entries {
            match entry {
                LedgerEntry::Folded { to, outputs, partial } => self.folded(to, outputs, &partial),
                LedgerEntry::Written { to } => self.written(to),
                LedgerEntry::Failed { step, error } => self.failed(step, error),
                LedgerEntry::Broken { to } => self.not_run(to, NotRunReason::FoldBroken),
            }
        }
    }
}
