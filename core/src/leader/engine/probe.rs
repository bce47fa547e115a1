//! What is known of copies that nobody answers: a probe travels behind them through their queue.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::broker::Pool;

/// Answers that are remembered.
const MAX_ANSWERS: usize = 16;
/// Between an answer and the next probe at least this part of a hold passes.
const PACE: u32 = 4;
/// A probe that does not come back is followed by another after so many holds, at most.
const MAX_PATIENCE: u32 = 32;

/// The probes of one (leader, pool): one in flight (rule 12).
///
/// Numbers are those of all confirms and probes: a probe with a higher number than a confirm was
/// published behind the copy that was confirmed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probing {
    asked: Option<Asked>,
    /// How many probes in a row were not answered in time.
    unanswered: u32,
    /// Probes that came back, oldest first.
    answered: VecDeque<Answered>,
    /// Copies confirmed before this are to be asked after, however young.
    suspect_before: u64,
    /// Why the queue cannot be probed.
    pub(crate) trouble: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Answered {
    number: u64,
    at: Duration,
}

impl Probing {
    /// Copies confirmed before `number` may have been lost, or their answers.
    pub(crate) fn suspect(&mut self, number: u64) {
        self.suspect_before = number;
        self.forget_asked();
    }

    /// The probe on its way will not be answered, or that is possible: the next may go at once.
    pub(crate) fn forget_asked(&mut self) {
        self.asked = None;
        self.unanswered = 0;
    }

    /// Whether a copy that was confirmed with this number at `since` is to be asked after.
    pub(crate) fn is_overdue(
        &self,
        number: u64,
        since: Duration,
        now: Duration,
        hold: Duration,
    ) -> bool {
        let asked_behind = self.answered.back().is_some_and(|answer| answer.number > number);
        !asked_behind && (number < self.suspect_before || now.saturating_sub(since) >= hold)
    }

    /// Whether a probe may be sent now. One that does not come back is followed by another, ever
    /// more rarely: it may have vanished with its queue, or stand behind hours of work.
    pub(crate) fn may_ask(&self, now: Duration, hold: Duration) -> bool {
        let Some(asked) = self.asked else {
            let last = self.answered.back();
            return last.is_none_or(|last| {
                last.number < self.suspect_before || now.saturating_sub(last.at) >= hold / PACE
            });
        };
        let patience = hold * (2 << self.unanswered.min(16)).min(MAX_PATIENCE);
        now.saturating_sub(asked.at) >= patience
    }

    pub(crate) fn ask(&mut self, now: Duration) {
        self.unanswered += u32::from(self.asked.is_some());
        self.asked = Some(Asked { at: now });
    }

    /// The probe of this number came back.
    pub(crate) fn came_back(&mut self, number: u64, now: Duration) {
        if self.answered.back().is_some_and(|answer| answer.number >= number) {
            return;
        }
        self.forget_asked();
        self.trouble = None;
        if self.answered.len() == MAX_ANSWERS {
            // Not the oldest, which is the next to be of use; what this one proves, the one behind
            // it proves a little later.
            self.answered.remove(MAX_ANSWERS / 2);
        }
        self.answered.push_back(Answered { number, at: now });
    }

    /// Copies confirmed before this number, and leased by nobody, are lost: whoever took them from
    /// the queue before the probe was taken had the time to settle them twice over.
    pub(crate) fn lost_before(&mut self, now: Duration, hold: Duration) -> u64 {
        let is_settled = |answer: &Answered| now.saturating_sub(answer.at) >= 2 * hold;
        while self.answered.get(1).is_some_and(is_settled) {
            self.answered.pop_front();
        }
        self.answered.front().filter(|answer| is_settled(answer)).map_or(0, |answer| answer.number)
    }

    /// Whether a probe is on its way through the queue.
    pub(crate) fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// After how long a copy that was confirmed with this number counts as lost; `None` as long as
    /// no probe behind it has come back.
    pub(crate) fn lost_in(&self, number: u64, now: Duration, hold: Duration) -> Option<Duration> {
        let answer = self.answered.iter().find(|answer| answer.number > number)?;
        Some((answer.at + 2 * hold).saturating_sub(now))
    }
}

/// The probes of a leader, by pool, and the order of all confirms and probes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probes {
    /// The number that was given out last.
    order: u64,
    by_pool: BTreeMap<Pool, Probing>,
}

impl Probes {
    /// A number for a confirm or a probe, larger than all before.
    pub(crate) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    pub(crate) fn of(&self, pool: &Pool) -> Option<&Probing> {
        self.by_pool.get(pool)
    }

    pub(crate) fn of_mut(&mut self, pool: &Pool) -> &mut Probing {
        self.by_pool.entry(pool.clone()).or_default()
    }

    /// No probe on its way will come back, or that is possible.
    pub(crate) fn forget_asked(&mut self) {
        self.by_pool.values_mut().for_each(Probing::forget_asked);
    }

    /// Makes a probe of a pool if one may be sent now; returns its number.
    pub(crate) fn ask(&mut self, pool: &Pool, now: Duration, hold: Duration) -> Option<u64> {
        let probing = self.by_pool.get_mut(pool).filter(|probing| probing.may_ask(now, hold))?;
        probing.ask(now);
        Some(self.next_order())
    }

    /// A probe came back. A number that was never given out proves nothing.
    pub(crate) fn came_back(&mut self, pool: &Pool, number: u64, now: Duration) {
        if let Some(probing) = self.by_pool.get_mut(pool)
            && number <= self.order
        {
            probing.came_back(number, now);
        }
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Probing> {
        self.by_pool.values()
    }
}

#[cfg(test)]
impl Probing {
    /// What makes this state different from others, whatever the time and the numbers.
    pub(crate) fn canonical(&self, now: Duration, hold: Duration) -> String {
        let asked = self.asked.map(|asked| (now - asked.at).min(hold * MAX_PATIENCE));
        let answered = self.answered.back().map(|last| (now - last.at).min(hold / PACE));
        format!("{asked:?} {} {answered:?}", self.unanswered.min(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_copy_is_lost_when_a_probe_behind_it_came_back_two_holds_ago() {
        let mut probing = Probing::default();
        assert!(!probing.is_overdue(5, at(0), at(29), HOLD));
        assert!(probing.is_overdue(5, at(0), at(30), HOLD) && probing.may_ask(at(30), HOLD));
        probing.ask(at(30));
        assert!(!probing.may_ask(at(31), HOLD), "one in flight");
        probing.came_back(6, at(40));
        assert!(!probing.is_overdue(5, at(0), at(41), HOLD), "the answer is there");
        assert_eq!(probing.lost_in(5, at(50), HOLD), Some(at(50)));
        assert_eq!(probing.lost_before(at(99), HOLD), 0);
        assert_eq!(probing.lost_before(at(100), HOLD), 6);
        assert!(probing.is_overdue(7, at(41), at(100), HOLD), "one that was published behind it");
    }

    #[test]
    fn a_probe_that_does_not_come_back_is_followed_by_others_ever_more_rarely() {
        let mut probing = Probing::default();
        let mut asked = Vec::new();
        for second in 0..10_000 {
            if probing.may_ask(at(second), HOLD) {
                probing.ask(at(second));
                asked.push(second);
            }
        }
        assert_eq!(
            asked,
            [0, 60, 180, 420, 900, 1860, 2820, 3780, 4740, 5700, 6660, 7620, 8580, 9540]
        );
        probing.came_back(3, at(10_000));
        assert!(!probing.may_ask(at(10_007), HOLD) && probing.may_ask(at(10_008), HOLD));
    }

    #[test]
    fn an_answer_that_comes_again_proves_nothing_new() {
        let mut probing = Probing::default();
        probing.came_back(6, at(10));
        probing.came_back(6, at(60));
        probing.came_back(4, at(60));
        assert_eq!(probing.lost_before(at(70), HOLD), 6);
    }

    #[test]
    fn after_an_interruption_young_copies_are_asked_after_too() {
        let mut probing = Probing::default();
        probing.ask(at(1));
        probing.suspect(5);
        assert!(probing.may_ask(at(2), HOLD), "the one on its way may have vanished");
        assert!(probing.is_overdue(4, at(1), at(2), HOLD));
        assert!(!probing.is_overdue(5, at(1), at(2), HOLD));
    }

    #[test]
    fn answers_are_bounded_and_the_oldest_still_proves_a_loss() {
        let mut probing = Probing::default();
        for number in 1..100 {
            probing.came_back(number, at(0));
        }
        assert_eq!(probing.answered.len(), MAX_ANSWERS);
        let mut probing = Probing::default();
        for number in 1..60 {
            probing.came_back(number, at(number));
            assert_eq!(probing.lost_before(at(number), HOLD), 0);
        }
        assert_eq!(probing.lost_before(at(61), HOLD), 1);
    }
}
