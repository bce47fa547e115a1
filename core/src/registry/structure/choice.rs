//! Decides which made-up value is tried next.

use super::{
    format::{Format, State},
    session::Session,
};

/// The most samples that are tried after one rejection.
const MOST_RETRIES: usize = 256;

impl Session {
    /// Which branch to make: one that was never made; else one that leads to such; else the one
    /// that ends soonest.
    pub(super) fn choose(&self, container: usize) -> Option<usize> {
        let branches = &self.containers[container].branches;
        let running = |branch: usize| {
            self.stack.iter().any(|frame| (frame.container, frame.branch) == (container, branch))
        };
        let recursive = self.stack.iter().any(|frame| frame.container == container);
        let untried = (0..branches.len())
            .find(|branch| branches[*branch].state == State::Untried && !running(*branch));
        let leading = || {
            (0..branches.len()).find(|branch| {
                !recursive
                    && matches!(branches[*branch].state, State::Done(_))
                    && branches[*branch].slots.iter().any(|slot| self.leads_to_untried(*slot))
            })
        };
        let soonest = || {
            let done = |branch: usize| match branches[branch].state {
                State::Done(nodes) => Some((nodes, branch)),
                State::Untried | State::Failed => None,
            };
            (0..branches.len()).filter_map(done).min().map(|(_, branch)| branch)
        };
        // A struct inside itself: its options and sequences will end it.
        let only = || (branches.len() == 1).then_some(0);
        untried.or_else(leading).or_else(soonest).or_else(only)
    }

    pub(super) fn leads_to_untried(&self, format: Format) -> bool {
        let mut seen = vec![false; self.containers.len()];
        let mut todo = vec![format];
        while let Some(format) = todo.pop() {
            let Format::Container(number) = format else {
                continue;
            };
            if std::mem::replace(&mut seen[number], true) {
                continue;
            }
            for branch in &self.containers[number].branches {
                if branch.state == State::Untried {
                    return true;
                }
                todo.extend(&branch.slots);
            }
        }
        false
    }

    /// After a refusal: the scalar before it takes its next sample; when it has had all, the one
    /// before that, and so on.
    pub(super) fn next_sample(&mut self) -> bool {
        self.retries += 1;
        if self.retries > MOST_RETRIES {
            return false;
        }
        for (place, samples) in self.taken.iter().rev().take(8) {
            let chosen = self.samples.entry(*place).or_insert(0);
            *chosen += 1;
            if *chosen < *samples {
                return true;
            }
            *chosen = 0;
        }
        false
    }

    /// The type rejected every sample: the current branch cannot be made.
    pub(super) fn abandon_branch(&mut self) -> bool {
        self.retries = 0;
        while let Some(frame) = self.stack.pop() {
            let container = &mut self.containers[frame.container];
            let branch = &mut container.branches[frame.branch];
            if branch.state == State::Untried {
                branch.state = State::Failed;
                self.progress += 1;
                // If it is the only branch, its enclosing values cannot be made either.
                if container.branches.len() > 1 {
                    return true;
                }
            }
        }
        false
    }
}
