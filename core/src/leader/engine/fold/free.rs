//! A fold that combines neighbours in the order of their arrival.

use std::collections::BTreeMap;

use super::{FoldState, Partial};
use crate::leader::engine::flow::MAX_BATCH_BYTES;

/// While more partial results are held than this, neighbours do not wait for others.
const MAX_HELD: usize = 4096;
/// While more bytes are held than this, and more than twice the largest partial result, neighbours
/// do not wait for others. The second bound keeps a large value from being combined with each small
/// one that arrives.
const MAX_HELD_BYTES: usize = 16 << 20;

/// The partial results that are not being combined. Small ones with no gap between them form a run,
/// which is combined once it fills a task.
#[derive(Debug, Clone, Default)]
pub(crate) struct FreeTree {
    /// By first position.
    runs: BTreeMap<u64, Run>,
    /// The first positions of the runs that `ready` has not examined since they changed.
    changed: Vec<u64>,
    held: usize,
    bytes: usize,
    /// The size of the largest partial result so far.
    largest: usize,
}

/// Neighbouring small partial results; or a large or an empty one alone. Never without any.
#[derive(Debug, Clone)]
struct Run {
    from: u64,
    to: u64,
    bytes: usize,
    partials: Vec<Partial>,
}

impl FreeTree {
    pub(super) fn insert(&mut self, partial: Partial) {
        self.largest = self.largest.max(partial.size());
        let mut run = Run::of(partial);
        let left = self.runs.range(..run.from).next_back();
        if let Some((&at, left)) = left
            && left.joins(&run)
            && let Some(left) = self.take(at)
        {
            run = left.join(run);
        }
        if self.runs.get(&run.to).is_some_and(|right| run.joins(right))
            && let Some(right) = self.take(run.to)
        {
            run = run.join(right);
        }
        self.changed.push(run.from);
        self.put(run);
    }

    pub(super) fn ready(&mut self, state: FoldState) -> Option<Vec<Partial>> {
        let wanted = state.wanted.max(2);
        while let Some(at) = self.changed.pop() {
            if self.runs.get(&at).is_some_and(|run| run.fills(wanted)) {
                return self.take_first(at, wanted);
            }
        }
        let crowded = self.held > MAX_HELD || self.bytes > MAX_HELD_BYTES.max(2 * self.largest);
        if !state.complete && !crowded {
            return None;
        }
        // The longest run first: its small partial results make one of several messages.
        let longest = self.runs.iter().max_by_key(|(_, run)| run.partials.len())?;
        if longest.1.partials.len() > 1 {
            return self.take_first(*longest.0, wanted);
        }
        self.take_lightest_pair()
    }

    /// Takes the first partial results of a run: as many as a task takes.
    fn take_first(&mut self, at: u64, wanted: usize) -> Option<Vec<Partial>> {
        let mut first = self.take(at)?.partials;
        let rest = first.split_off(fitting(&first, wanted, MAX_BATCH_BYTES));
        if let Some(rest) = Run::of_all(rest) {
            self.changed.push(rest.from);
            self.put(rest);
        }
        Some(first)
    }

    /// Takes the two neighbours of the fewest bytes, if all runs have one partial result.
    fn take_lightest_pair(&mut self) -> Option<Vec<Partial>> {
        let pairs = self.runs.values().zip(self.runs.values().skip(1));
        let neighbours = pairs.filter(|(left, right)| left.to == right.from);
        let (left, right) = neighbours.min_by_key(|(left, right)| left.bytes + right.bytes)?;
        let (left, right) = (left.from, right.from);
        let mut pair = self.take(left)?.partials;
        pair.extend(self.take(right)?.partials);
        Some(pair)
    }

    fn put(&mut self, run: Run) {
        self.held += run.partials.len();
        self.bytes += run.bytes;
        self.runs.insert(run.from, run);
    }

    fn take(&mut self, at: u64) -> Option<Run> {
        let run = self.runs.remove(&at)?;
        self.held -= run.partials.len();
        self.bytes -= run.bytes;
        Some(run)
    }

    pub(super) fn only(&self) -> Option<&Partial> {
        let (_, run) = self.runs.first_key_value()?;
        (self.held == 1).then(|| run.partials.first()).flatten()
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> Vec<(u64, u64)> {
        let partials = self.runs.values().flat_map(|run| &run.partials);
        partials.map(|partial| (partial.from, partial.to)).collect()
    }
}

impl Run {
    fn of(partial: Partial) -> Self {
        let (from, to, bytes) = (partial.from, partial.to, partial.size());
        Self { from, to, bytes, partials: vec![partial] }
    }

    fn of_all(partials: Vec<Partial>) -> Option<Self> {
        let (from, to) = (partials.first()?.from, partials.last()?.to);
        let bytes = partials.iter().map(Partial::size).sum();
        Some(Self { from, to, bytes, partials })
    }

    fn is_empty(&self) -> bool {
        self.partials.iter().all(|partial| partial.bytes.is_none())
    }

    fn is_large(&self) -> bool {
        self.partials.len() == 1 && self.bytes >= MAX_BATCH_BYTES
    }

    /// Whether this run and the one to its right become one run.
    fn joins(&self, right: &Self) -> bool {
        let small = !self.is_large() && !right.is_large();
        self.to == right.from && (small || self.is_empty() || right.is_empty())
    }

    /// Joins this run and the one to its right. An empty partial result merges with its neighbour,
    /// without a combination.
    fn join(mut self, mut right: Self) -> Self {
        if self.is_empty() {
            right.from = self.from;
            right.partials[0].from = self.from;
            return right;
        }
        if right.is_empty() {
            if let Some(last) = self.partials.last_mut() {
                last.to = right.to;
            }
        } else {
            self.partials.append(&mut right.partials);
        }
        self.to = right.to;
        self.bytes += right.bytes;
        self
    }

    /// Whether a task takes no more than this run has.
    fn fills(&self, wanted: usize) -> bool {
        self.partials.len() >= wanted || (self.partials.len() > 1 && self.bytes >= MAX_BATCH_BYTES)
    }
}

/// How many of these partial results fit into a number of them and of bytes: at least two, as far
/// as they exist.
pub(super) fn fitting<'p>(
    partials: impl IntoIterator<Item = &'p Partial>,
    count: usize,
    bytes: usize,
) -> usize {
    let mut total = 0_usize;
    let fits = |(at, partial): &(usize, &Partial)| {
        total += partial.size();
        *at < 2 || (*at < count && total <= bytes)
    };
    partials.into_iter().enumerate().take_while(fits).count()
}
