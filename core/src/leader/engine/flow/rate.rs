//! The rate of a stage: how much its workers got done in each few seconds.

use std::{collections::VecDeque, time::Duration};

/// The length of a window.
const WINDOW: Duration = Duration::from_secs(5);
/// The number of windows that make up the recent rate: half a minute.
const RECENT: usize = 6;

/// The elements that workers have run, in windows of [`WINDOW`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Rate {
    /// The last complete windows, oldest first; at most [`RECENT`].
    recent: VecDeque<Done>,
    current: Done,
    /// The number of the current window since the leader began.
    number: u64,
    /// The most elements of any complete window.
    best: u64,
}

/// What workers got done in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) elements: u64,
    /// The time that they spent on these elements, of all slots together.
    pub(crate) busy: Duration,
}

/// The rate of the last half minute beside the best one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recent {
    pub(crate) done: Done,
    /// The number of elements that the best windows would have got done in as long.
    pub(crate) best: u64,
    pub(crate) length: Duration,
}

impl Rate {
    /// A result has arrived.
    pub(crate) fn observe(&mut self, now: Duration, elements: u64, busy: Duration) {
        self.advance(now);
        self.current.elements += elements;
        self.current.busy = self.current.busy.saturating_add(busy);
    }

    /// The rate of the last half minute; `None` before that has passed.
    pub(crate) fn recent(&mut self, now: Duration) -> Option<Recent> {
        self.advance(now);
        if self.recent.len() < RECENT {
            return None;
        }
        let sum = |sum: Done, window: &Done| Done {
            elements: sum.elements + window.elements,
            busy: sum.busy.saturating_add(window.busy),
        };
        Some(Recent {
            done: self.recent.iter().fold(Done::default(), sum),
            best: self.best * RECENT as u64,
            length: WINDOW * RECENT as u32,
        })
    }

    /// Ends the windows that are over.
    fn advance(&mut self, now: Duration) {
        let number = now.as_secs() / WINDOW.as_secs();
        // Before the first result there is nothing to compare with.
        let started = self.best > 0 || self.current.elements > 0;
        let passed = if started { number.saturating_sub(self.number) } else { 0 };
        for _ in 0..passed.min(RECENT as u64 + 1) {
            let done = std::mem::take(&mut self.current);
            self.best = self.best.max(done.elements);
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(done);
        }
        self.number = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recent_pace_is_that_of_the_last_half_minute() {
        let mut rate = Rate::default();
        let second = Duration::from_secs(1);
        for at in 100..110 {
            rate.observe(second * at, 20, second);
        }
        assert_eq!(rate.recent(second * 129), None);
        let recent = rate.recent(second * 130).unwrap();
        assert_eq!((recent.done.elements, recent.best), (200, 600));
        assert_eq!((recent.done.busy, recent.length), (second * 10, second * 30));
        rate.observe(second * 141, 1, second);
        let recent = rate.recent(second * 146).unwrap();
        assert_eq!((recent.done.elements, recent.best), (1, 600));
        // A pause of any length.
        assert_eq!(rate.recent(second * 100_000).unwrap().done, Done::default());
    }
}
