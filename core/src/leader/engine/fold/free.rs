//! A fold that combines neighbours in the order of their arrival.

use std::collections::BTreeMap;

use super::{FoldState, Partial};

/// The partial results by first position, without those that are being combined.
#[derive(Debug, Clone, Default)]
pub(crate) struct FreeTree {
    held: BTreeMap<u64, Partial>,
    /// The first positions of the partial results whose neighbours `ready` has not examined yet.
    fresh: Vec<u64>,
}

impl FreeTree {
    pub(super) fn insert(&mut self, mut partial: Partial) {
        // An empty partial result merges with a neighbour without a combination.
        if let Some(left) = self.left_of(partial.from)
            && (left.bytes.is_none() || partial.bytes.is_none())
        {
            self.held.remove(&left.from);
            partial = merge(left, partial);
        }
        if let Some(right) = self.held.get(&partial.to)
            && (right.bytes.is_none() || partial.bytes.is_none())
        {
            let to = right.from;
            if let Some(right) = self.held.remove(&to) {
                partial = merge(partial, right);
            }
        }
        self.fresh.push(partial.from);
        self.held.insert(partial.from, partial);
    }

    pub(super) fn ready(&mut self, state: FoldState) -> Option<Vec<Partial>> {
        if state.complete {
            let starts: Vec<u64> = self.held.keys().copied().collect();
            // No more neighbours will come: pairs are enough.
            return starts.into_iter().find_map(|start| self.take_run(start, 2, state.fan_in));
        }
        while let Some(at) = self.fresh.pop() {
            let start = self.start_of_run(at, state.fan_in);
            if let Some(run) = self.take_run(start, state.fan_in, state.fan_in) {
                return Some(run);
            }
        }
        None
    }

    /// The first position of the partial result that is up to `most` neighbours to the left of
    /// `at`.
    fn start_of_run(&self, mut at: u64, most: usize) -> u64 {
        for _ in 0..most {
            match self.left_of(at) {
                Some(left) => at = left.from,
                None => break,
            }
        }
        at
    }

    /// If at least `least` neighbours begin at `start`, takes out the `most` of them that cover the
    /// fewest elements, so that large partial results are not combined repeatedly with small ones.
    fn take_run(&mut self, start: u64, least: usize, most: usize) -> Option<Vec<Partial>> {
        let mut run: Vec<(u64, u64)> = Vec::new();
        let mut at = start;
        while let Some(partial) = self.held.get(&at) {
            run.push((partial.from, partial.to - partial.from));
            at = partial.to;
            if run.len() >= 4 * most {
                break;
            }
        }
        if run.len() < least {
            return None;
        }
        let width = run.len().min(most.max(2));
        let weight =
            |window: &&[(u64, u64)]| window.iter().map(|(_, elements)| elements).sum::<u64>();
        let lightest = run.windows(width).min_by_key(weight)?;
        lightest.iter().map(|(from, _)| self.held.remove(from)).collect()
    }

    fn left_of(&self, at: u64) -> Option<Partial> {
        let (_, left) = self.held.range(..at).next_back()?;
        (left.to == at).then(|| left.clone())
    }

    pub(super) fn only(&self) -> Option<&Partial> {
        let (_, only) = self.held.first_key_value()?;
        (self.held.len() == 1).then_some(only)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> Vec<(u64, u64)> {
        self.held.values().map(|partial| (partial.from, partial.to)).collect()
    }
}

/// Merges two neighbours, of which at least one is empty.
fn merge(left: Partial, right: Partial) -> Partial {
    Partial {
        from: left.from,
        to: right.to,
        tries: left.tries.max(right.tries),
        bytes: left.bytes.or(right.bytes),
    }
}
