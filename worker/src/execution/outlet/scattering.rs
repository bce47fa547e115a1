//! The outlet of a task that feeds an exchange.

use phalanx_core::{
    codec::Layout,
    gather::{Keys, hash},
    operation::OperationError,
    registry::Accumulators,
    wire::{Combine, RowTotal, Scatter, TaskOutlet},
};

use super::{
    super::{Pipeline, Running, pipeline::StepFailure, rows::Rows, values::Values},
    Blocks, LedgerEntry,
    blocks::Partitioned,
};

/// A table that takes up more than this is made into blocks, in bytes.
const MAX_TABLE: usize = 64 << 20;
/// What a row of a table adds to the size of its key, as a guess, in bytes.
const ROW_OVERHEAD: usize = 24;
/// A table of at least this many keys must have met an eighth more rows, or it is given up.
const TRIED_KEYS: usize = 64 << 10;

/// The outlet of a task that feeds an exchange: it cuts the outputs into blocks, one for each
/// partition, after those with equal keys have been combined.
pub(in crate::execution) struct Scattering {
    layout: Layout,
    combine: Combine,
    partitioned: Partitioned,
    /// `None` if outputs with equal keys all travel.
    table: Option<Table>,
    /// The batch offset at which the segment begins whose rows are not in blocks yet.
    first: u32,
    /// The rows that were absorbed.
    uncombined: RowTotal,
}

/// The keys of a segment, with what was combined so far.
struct Table {
    keys: Keys,
    /// The numbers of the keys of the rows that are being added.
    numbers: Vec<u32>,
    /// The number of rows that were added.
    rows: usize,
    values: Combining,
}

enum Combining {
    /// Equal rows, whose own keys end here.
    Rows(Vec<usize>),
    Counts(Vec<u64>),
    Values(Accumulators),
}

/// The combination failed at an element: all that the task has written is void.
pub(in crate::execution) struct Broken {
    pub(in crate::execution) offset: u32,
    pub(in crate::execution) error: OperationError,
}

impl Scattering {
    /// `None` if the outputs of the task do not go to an exchange.
    pub(in crate::execution) fn of(running: &Running) -> Option<Self> {
        let TaskOutlet::Exchange(scatter) = &running.task.header.outlet else { return None };
        let Scatter { partitions, layout, combine, .. } = *scatter;
        let table = Table::new(&running.pipeline, combine);
        let partitioned = Partitioned::new(partitions);
        Some(Self {
            layout,
            combine,
            partitioned,
            table,
            first: 0,
            uncombined: RowTotal::default(),
        })
    }

    /// The rows of outputs. Elements with outputs that do not serialize are added to `failures`.
    pub(in crate::execution) fn rows_of(
        &self,
        running: &Running,
        values: Values,
        failures: &mut Vec<StepFailure>,
    ) -> Rows {
        let rows = values.into_rows(&running.pipeline, running.mapping().end, failures);
        if self.layout == Layout::Whole { rows.whole_keys() } else { rows }
    }

    /// The size of what was written so far, in bytes.
    pub(in crate::execution) fn size(&self) -> usize {
        let in_table = |table: &Table| table.keys.bytes() + ROW_OVERHEAD * table.keys.count();
        self.partitioned.size() + self.table.as_ref().map_or(0, in_table)
    }

    /// Absorbs the outputs of the elements at the offsets `from..to`. A segment ends at an element
    /// that may run again, because what is written for it then comes behind what is written for
    /// those before it, and in front of what follows (rule 31). It ends at a gap for the same
    /// reason.
    pub(in crate::execution) fn absorb(
        &mut self,
        running: &Running,
        (from, to): (u32, u32),
        mut rows: Rows,
        mut failures: Vec<StepFailure>,
    ) -> Result<Vec<LedgerEntry>, Broken> {
        failures.sort_by_key(|failure| failure.offset);
        failures.dedup_by_key(|failure| failure.offset);
        rows.remove(failures.iter().map(|failure| failure.offset));
        let gaps = running.progress().ledger.gaps(from..to).to_vec();
        let mut gaps = gaps.into_iter().peekable();
        let (mut entries, mut next, mut row) = (Vec::new(), from, 0);
        for StepFailure { offset, step, error } in failures {
            while let Some(gap) = gaps.next_if(|gap| *gap <= offset) {
                row = self.end_segment(running, &rows, row, gap)?;
                self.begin_segment(gap);
                push_written(&mut entries, &mut next, gap);
            }
            push_written(&mut entries, &mut next, offset);
            if running.may_run_again(step as usize, &error) {
                row = self.end_segment(running, &rows, row, offset)?;
                self.begin_segment(offset + 1);
            }
            entries.push(LedgerEntry::Failed { step, error });
            next = offset + 1;
        }
        for gap in gaps {
            row = self.end_segment(running, &rows, row, gap)?;
            self.begin_segment(gap);
            push_written(&mut entries, &mut next, gap);
        }
        push_written(&mut entries, &mut next, to);
        self.add(running, &rows, row..rows.len())?;
        Ok(entries)
    }

    /// Adds the rows from number `row` on of the elements before `to`, and makes blocks; returns
    /// the first row behind them.
    fn end_segment(
        &mut self,
        running: &Running,
        rows: &Rows,
        row: usize,
        to: u32,
    ) -> Result<usize, Broken> {
        let end = row + rows.offsets()[row..].partition_point(|at| *at < to);
        self.add(running, rows, row..end)?;
        self.flush(&running.pipeline)?;
        Ok(end)
    }

    fn begin_segment(&mut self, first: u32) {
        self.first = first;
        self.partitioned.begin_segment(first);
    }

    /// The blocks of all that was absorbed.
    pub(in crate::execution) fn finish(mut self, pipeline: &Pipeline) -> Result<Blocks, Broken> {
        self.flush(pipeline)?;
        Ok(self.partitioned.finish(self.uncombined))
    }

    fn add(
        &mut self,
        running: &Running,
        rows: &Rows,
        range: std::ops::Range<usize>,
    ) -> Result<(), Broken> {
        self.uncombined.rows += range.len() as u64;
        self.uncombined.bytes += rows.size_of(&range) as u64;
        let Some(table) = &mut self.table else {
            for row in range {
                let (key, value) = rows.get(row);
                match self.combine {
                    Combine::First | Combine::Whole => {
                        self.partitioned.push(hash(rows.whole(row)), key, value);
                    }
                    // As its count would be.
                    Combine::Count => self.partitioned.push(hash(key), key, &[1]),
                    _ => self.partitioned.push(hash(key), key, value),
                }
            }
            return Ok(());
        };
        table.add(running, rows, range)?;
        let (keys, met) = (table.keys.count(), table.rows);
        let pays = keys < TRIED_KEYS || met - keys >= keys / 8;
        if table.keys.size() > MAX_TABLE || !pays {
            self.flush(&running.pipeline)?;
        }
        if !pays {
            self.table = None;
        }
        Ok(())
    }

    /// Makes blocks of what was absorbed.
    fn flush(&mut self, pipeline: &Pipeline) -> Result<(), Broken> {
        if let Some(table) = &mut self.table {
            table.flush(pipeline, self.first, &mut self.partitioned)?;
        }
        self.partitioned.flush();
        Ok(())
    }
}

/// The elements from `next` up to `to`, if there are such, are in blocks.
fn push_written(entries: &mut Vec<LedgerEntry>, next: &mut u32, to: u32) {
    if *next < to {
        entries.push(LedgerEntry::Written { to });
        *next = to;
    }
}

impl Table {
    fn new(pipeline: &Pipeline, combine: Combine) -> Option<Self> {
        let values = match combine {
            Combine::First => Combining::Rows(Vec::new()),
            Combine::Count => Combining::Counts(Vec::new()),
            Combine::Step => Combining::Values(pipeline.steps().last()?.accumulators()?),
            _ => return None,
        };
        Some(Self { keys: Keys::default(), numbers: Vec::new(), rows: 0, values })
    }

    fn add(
        &mut self,
        running: &Running,
        rows: &Rows,
        range: std::ops::Range<usize>,
    ) -> Result<(), Broken> {
        self.rows += range.len();
        let Self { keys, numbers, values, .. } = self;
        numbers.clear();
        match values {
            Combining::Rows(_) => {
                keys.number_all(range.clone().map(|row| rows.whole(row)), numbers);
            }
            Combining::Counts(_) | Combining::Values(_) => {
                keys.number_all(range.clone().map(|row| rows.get(row).0), numbers);
            }
        }
        match values {
            Combining::Rows(key_ends) => {
                for (row, number) in range.zip(numbers) {
                    if *number as usize == key_ends.len() {
                        key_ends.push(rows.get(row).0.len());
                    }
                }
            }
            Combining::Counts(counts) => {
                counts.resize(keys.count(), 0);
                numbers.iter().for_each(|number| counts[*number as usize] += 1);
            }
            Combining::Values(accumulators) => {
                let first = range.start;
                let mut bytes = Vec::new();
                range.clone().for_each(|row| bytes.extend_from_slice(rows.get(row).1));
                let Some(&offset) = rows.offsets().get(first).filter(|_| !range.is_empty()) else {
                    return Ok(());
                };
                let last = running.pipeline.last();
                let step = &running.pipeline.steps()[last];
                let broken = |offset, error| Broken { offset, error };
                let undecodable = |reason: String| {
                    let text = format!("could not decode a value of a key: {reason}");
                    OperationError::new(phalanx_core::operation::ErrorKind::Codec, text)
                };
                let mut rest = &bytes[..];
                let column = step.decode(&mut rest, 0, numbers.len() as u32, usize::MAX);
                let mut column =
                    column.map_err(|refusal| broken(offset, undecodable(refusal.to_string())))?;
                if column.len() != numbers.len() || !rest.is_empty() {
                    return Err(broken(offset, undecodable("bytes are left over".to_owned())));
                }
                column.offsets = rows.offsets()[range].to_vec();
                running.begin_step(last, offset);
                let failures = step.combine(accumulators, numbers, column, &running.context);
                running.end_step();
                if let Some((at, error)) = failures.into_iter().next() {
                    let offset = rows.offsets().get(first + at).copied().unwrap_or(offset);
                    return Err(broken(offset, error));
                }
            }
        }
        Ok(())
    }

    /// Writes a row for each key, and forgets the keys.
    fn flush(
        &mut self,
        pipeline: &Pipeline,
        first: u32,
        partitioned: &mut Partitioned,
    ) -> Result<(), Broken> {
        let keys = &self.keys;
        match &mut self.values {
            Combining::Rows(key_ends) => {
                for (number, key_end) in key_ends.drain(..).enumerate() {
                    let (key, value) = keys.get(number).split_at(key_end);
                    partitioned.push(keys.hash(number), key, value);
                }
            }
            Combining::Counts(counts) => {
                let mut value = Vec::new();
                for (number, count) in counts.drain(..).enumerate() {
                    value.clear();
                    // A number is always encoded.
                    let _ = phalanx_core::codec::encode_into(&count, &mut value);
                    partitioned.push(keys.hash(number), keys.get(number), &value);
                }
            }
            Combining::Values(accumulators) => {
                let Some(step) = pipeline.steps().last() else { return Ok(()) };
                let Some(empty) = step.accumulators() else { return Ok(()) };
                let column = step.finish(std::mem::replace(accumulators, empty));
                let (mut bytes, mut ends) = (Vec::new(), Vec::new());
                let all = 0..column.len();
                // Which element made the value unserializable is unknown. The first one is reported
                // as failed, which is right once the leader has split the batch down to one
                // element.
                step.encode(&column, all, &mut bytes, Some(&mut ends))
                    .map_err(|(_, error)| Broken { offset: first, error })?;
                let mut from = 0;
                for (number, end) in ends.into_iter().enumerate() {
                    let value = &bytes[from..end as usize];
                    partitioned.push(keys.hash(number), keys.get(number), value);
                    from = end as usize;
                }
            }
        }
        self.keys.clear();
        self.rows = 0;
        Ok(())
    }
}
