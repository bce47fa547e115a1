//! The outcome of each element of a batch.

use std::ops::Range;

use bytes::Bytes;
use phalanx_core::{
    codec::Layout,
    operation::OperationError,
    registry::Column,
    wire::{NotRunReason, Outcome, Segment, TaskOutlet},
};

use super::{Pipeline, pipeline::StepFailure, rows::Rows};

/// The outcome of each element of a batch: segments that tile it up to `next_offset`, and the
/// encoded outputs.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    segments: Vec<Segment>,
    payload: Vec<u8>,
    /// The first offset without an outcome.
    next_offset: u32,
    /// Whether the number of outputs of each `Done` element is recorded.
    counted: bool,
    /// Whether the length of each output is recorded.
    measured: bool,
    /// Whether these lengths are part of the result.
    sends_lengths: bool,
    /// The length of each output in `payload`, if outputs may leave it for the queue of the task.
    unpublished: Option<Vec<u32>>,
    /// Whether the next segment does not extend the last one.
    cut: bool,
    /// Ascending offsets of elements that are no neighbours of those before them: no segment goes
    /// on there, because other tasks have the elements in between.
    gaps: Vec<u32>,
    /// The size of the errors of failed elements.
    error_bytes: usize,
    /// A buffer that is reused between chunks.
    ends: Vec<u32>,
}

impl Ledger {
    pub(super) fn new(one_to_one: bool, outlet: &TaskOutlet) -> Self {
        let sends_lengths = matches!(outlet, TaskOutlet::Stage(_));
        let may_be_trimmed = matches!(outlet, TaskOutlet::Top { .. });
        // Nobody asks which element an output behind an exchange was made from.
        let queued = matches!(outlet, TaskOutlet::Queue { .. });
        Self {
            counted: (!one_to_one || may_be_trimmed) && !queued,
            measured: sends_lengths || may_be_trimmed || queued,
            sends_lengths,
            unpublished: queued.then(Vec::new),
            ..Self::default()
        }
    }

    /// Forgets all outcomes: what was written for the elements is void.
    pub(super) fn void(&mut self) {
        self.segments.clear();
        self.payload.clear();
        (self.next_offset, self.error_bytes) = (0, 0);
        self.unpublished.iter_mut().for_each(Vec::clear);
    }

    /// The elements at these offsets, which ascend, are no neighbours of those before them.
    pub(super) fn add_gaps(&mut self, gaps: impl Iterator<Item = u32>) {
        self.gaps.extend(gaps);
    }

    /// The offsets in a range at which segments end.
    pub(super) fn gaps(&self, range: Range<u32>) -> &[u32] {
        let at = |offset| first_from(&self.gaps, 0, offset);
        &self.gaps[at(range.start)..at(range.end.max(range.start))]
    }

    /// The first offset up to `to` at which the segment that begins now ends.
    fn next_end(&self, to: u32) -> u32 {
        self.gaps(self.next_offset + 1..to).first().copied().unwrap_or(to)
    }

    /// Ends the segment.
    pub(super) fn cut(&mut self) {
        self.cut = true;
    }

    /// The elements up to `to` are done, and their outputs are in blocks.
    pub(super) fn written(&mut self, to: u32) {
        self.push_done(to, 0, 0, None, None);
    }

    /// The elements up to `to` have been run, and the outputs of those that did not fail are these
    /// rows, to be written in this layout.
    pub(super) fn rows(
        &mut self,
        to: u32,
        rows: &Rows,
        layout: Layout,
        mut failures: Vec<StepFailure>,
    ) {
        failures.sort_by_key(|failure| failure.offset);
        failures.dedup_by_key(|failure| failure.offset);
        let mut row = 0;
        for StepFailure { offset, step, error } in failures {
            row = self.rows_done(offset, rows, layout, row);
            row = first_from(rows.offsets(), row, offset + 1);
            self.failed(step, error);
        }
        self.rows_done(to, rows, layout, row);
    }

    /// The elements up to `to` have the rows from number `row` on; returns the first row behind
    /// them.
    fn rows_done(&mut self, to: u32, rows: &Rows, layout: Layout, mut row: usize) -> usize {
        while self.next_offset < to {
            row = self.neighbours_done(self.next_end(to), rows, layout, row);
        }
        row
    }

    /// As [`rows_done`](Self::rows_done), for elements that are neighbours.
    fn neighbours_done(&mut self, to: u32, rows: &Rows, layout: Layout, row: usize) -> usize {
        let end = first_from(rows.offsets(), row, to);
        let (before, mut ends) = (self.payload.len(), std::mem::take(&mut self.ends));
        ends.clear();
        for row in row..end {
            rows.write(row, layout, &mut self.payload);
            ends.push(self.payload.len() as u32);
        }
        self.done(to, before, &rows.offsets()[row..end], &ends);
        self.ends = ends;
        end
    }

    /// The first offset without an outcome.
    pub(super) fn next_offset(&self) -> u32 {
        self.next_offset
    }

    /// The size of the outputs that have not been taken.
    pub(super) fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Takes outputs in blocks of at least this many bytes, each with the number of its outputs.
    /// What fills no block stays.
    pub(super) fn take_blocks(&mut self, least: usize) -> Vec<(Bytes, u32)> {
        let lengths = self.unpublished.as_deref().unwrap_or_default();
        let (mut blocks, mut from, mut end, mut count) = (Vec::new(), 0, 0, 0);
        let mut taken = 0;
        for length in lengths {
            end += *length as usize;
            count += 1;
            if end - from >= least {
                blocks.push((Bytes::copy_from_slice(&self.payload[from..end]), count));
                taken += count as usize;
                (from, count) = (end, 0);
            }
        }
        self.payload.drain(..from);
        self.unpublished.iter_mut().for_each(|lengths| drop(lengths.drain(..taken)));
        blocks
    }

    /// Takes the outputs that are left, with their number.
    pub(super) fn take_rest(&mut self) -> Option<(Bytes, u32)> {
        let count = std::mem::take(self.unpublished.as_mut()?).len() as u32;
        (count > 0).then(|| (std::mem::take(&mut self.payload).into(), count))
    }

    /// The size of the outputs and errors so far.
    pub(super) fn output_bytes(&self) -> usize {
        self.payload.len() + self.error_bytes
    }

    /// The segments, and the encoded outputs.
    pub(super) fn into_parts(mut self) -> (Vec<Segment>, Vec<u8>) {
        if !self.sends_lengths {
            for segment in &mut self.segments {
                if let Outcome::Done { lengths, .. } = &mut segment.outcome {
                    *lengths = None;
                }
            }
        }
        (self.segments, self.payload)
    }

    /// The segments and the encoded outputs so far.
    pub(super) fn parts(&mut self) -> (&mut [Segment], &mut Vec<u8>) {
        (&mut self.segments, &mut self.payload)
    }

    /// The elements up to `to` are their own outputs, because the stage has no steps.
    pub(super) fn pass_through(&mut self, to: u32, payload: &[u8]) {
        self.payload.extend_from_slice(payload);
        self.push_done(to, payload.len() as u64, to - self.next_offset, None, None);
    }

    /// A fold over the elements up to `to` produced one partial result, or none if `outputs` is 0.
    /// Segments of a fold are not merged: the leader combines their partial results.
    pub(super) fn folded(&mut self, to: u32, outputs: u32, partial: &[u8]) {
        if to == self.next_offset {
            return;
        }
        self.payload.extend_from_slice(partial);
        let bytes = partial.len() as u64;
        let lengths = self.measured.then(|| vec![partial.len() as u32; outputs as usize]);
        let outcome = Outcome::Done { bytes, outputs, counts: None, lengths };
        self.push(to, outcome);
    }

    /// The next element failed.
    pub(super) fn failed(&mut self, step: u32, error: OperationError) {
        self.error_bytes += error.size();
        self.push(self.next_offset + 1, Outcome::Failed { step, error, element: None });
    }

    /// The elements up to `to` were not run, or their outputs were discarded.
    pub(super) fn not_run(&mut self, to: u32, reason: NotRunReason) {
        if to > self.next_offset {
            self.push(to, Outcome::NotRun { reason });
        }
    }

    /// The elements up to `to` have been run. `column` holds the outputs of those that did not
    /// fail, and perhaps some of those that did. The latter are dropped: an element has all its
    /// outputs or none. `failures` may name an element several times; the first failure counts.
    pub(super) fn chunk(
        &mut self,
        to: u32,
        pipeline: &Pipeline,
        column: &Column,
        mut failures: Vec<StepFailure>,
    ) {
        failures.sort_by_key(|failure| failure.offset);
        failures.dedup_by_key(|failure| failure.offset);
        let mut value = 0;
        for StepFailure { offset, step, error } in failures {
            let end = first_from(&column.offsets, value, offset);
            self.encode_done(offset, pipeline, column, value..end);
            value = first_from(&column.offsets, end, offset + 1);
            self.failed(step, error);
        }
        self.encode_done(to, pipeline, column, value..column.offsets.len());
    }

    /// The elements up to `to`, none of which failed in a step, have the outputs in `range`. An
    /// element fails here if one of its outputs does not serialize.
    fn encode_done(&mut self, to: u32, pipeline: &Pipeline, column: &Column, range: Range<usize>) {
        let mut range = range;
        while self.next_offset < to {
            let end = self.next_end(to);
            if end < to {
                let first = first_from(&column.offsets, range.start, end);
                self.encode_done(end, pipeline, column, range.start..first);
                range.start = first;
                continue;
            }
            let before = self.payload.len();
            if range.is_empty() {
                return self.done(to, before, &[], &[]);
            }
            let mut ends = std::mem::take(&mut self.ends);
            ends.clear();
            let wanted = self.measured.then_some(&mut ends);
            let step = pipeline.last();
            let encoder = &pipeline.steps()[step];
            match encoder.encode(column, range.clone(), &mut self.payload, wanted) {
                Ok(()) => {
                    self.done(to, before, &column.offsets[range.clone()], &ends);
                    self.ends = ends;
                    return;
                }
                Err((index, error)) => {
                    let offset = column.offsets[range.start + index];
                    let first = first_from(&column.offsets, range.start, offset);
                    if first < range.start + index {
                        // Its earlier outputs are in the payload already: encode again without
                        // them.
                        self.payload.truncate(before);
                        self.encode_done(offset, pipeline, column, range.start..first);
                    } else {
                        self.done(offset, before, &column.offsets[range.start..first], &ends);
                    }
                    self.ends = ends;
                    self.failed(step as u32, error);
                    range.start = first_from(&column.offsets, first, offset + 1);
                }
            }
        }
    }

    /// The elements up to `to` are done; their outputs begin at `before` in the payload.
    fn done(&mut self, to: u32, before: usize, offsets: &[u32], ends: &[u32]) {
        if to == self.next_offset {
            return;
        }
        let counts = self.counted.then(|| {
            let mut counts = vec![0; (to - self.next_offset) as usize];
            for offset in offsets {
                counts[(offset - self.next_offset) as usize] += 1;
            }
            counts
        });
        let starts = std::iter::once(before as u32).chain(ends.iter().copied());
        let lengths = ends.iter().zip(starts).map(|(end, start)| end - start);
        let lengths = match &mut self.unpublished {
            Some(unpublished) => {
                unpublished.extend(lengths);
                None
            }
            None => self.measured.then(|| lengths.collect()),
        };
        let bytes = (self.payload.len() - before) as u64;
        self.push_done(to, bytes, offsets.len() as u32, counts, lengths);
    }

    /// Extends the last segment if it is `Done`, and adds a segment otherwise.
    fn push_done(
        &mut self,
        to: u32,
        more_bytes: u64,
        more_outputs: u32,
        more_counts: Option<Vec<u32>>,
        more_lengths: Option<Vec<u32>>,
    ) {
        if let Some(Segment { to: end, outcome, .. }) = self.segments.last_mut()
            && !self.cut
            && self.gaps.binary_search(&self.next_offset).is_err()
            && let Outcome::Done { bytes, outputs, counts, lengths, .. } = outcome
            && let Some(sum) = outputs.checked_add(more_outputs)
        {
            *end = to;
            *bytes += more_bytes;
            *outputs = sum;
            if let (Some(counts), Some(more)) = (counts, more_counts) {
                counts.extend(more);
            }
            if let (Some(lengths), Some(more)) = (lengths, more_lengths) {
                lengths.extend(more);
            }
            self.next_offset = to;
            return;
        }
        let outcome = Outcome::Done {
            bytes: more_bytes,
            outputs: more_outputs,
            counts: more_counts,
            lengths: more_lengths,
        };
        self.push(to, outcome);
    }

    fn push(&mut self, to: u32, outcome: Outcome) {
        self.cut = false;
        self.segments.push(Segment { from: self.next_offset, to, outcome });
        self.next_offset = to;
    }
}

/// The first index from `start` on whose offset is at least `offset`.
pub(super) fn first_from(offsets: &[u32], start: usize, offset: u32) -> usize {
    start + offsets[start..].partition_point(|at| *at < offset)
}
