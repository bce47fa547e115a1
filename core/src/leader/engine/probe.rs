//! Detects lost copies: a probe travels through a task queue after the copies in it.
//!
//! Copies and probes of one queue are delivered in order. So when a probe comes back, every copy
//! that was confirmed before the probe was published has left the queue. If its worker neither
//! replies nor leases it within two holds, the copy is lost (rule 12).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::broker::Pool;

/// The most returned probes that are remembered for one pool.
const MAX_RETURNED: usize = 16;
/// The shortest time from the return of a probe to the next one, as a fraction of a hold.
const INTERVALS_IN_A_HOLD: u32 = 4;
/// The longest time after which a probe that does not come back is followed by another, in holds.
const MAX_TIMEOUT: u32 = 32;

/// The probes of one leader in the queue of one pool: at most one is in flight (rule 12).
///
/// Confirms and probes share one sequence of order numbers: a probe with a higher number than a
/// confirm was published after the confirmed copy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probing {
    in_flight: Option<InFlight>,
    /// How many probes in a row did not come back in time; sets the timeout of the next one.
    timeouts: u32,
    /// The probes that came back, oldest first.
    returned: VecDeque<Returned>,
    /// Copies confirmed before this order number are probed without waiting for a hold to pass.
    suspect_before: u64,
    /// The error of the broker that keeps the queue from being probed.
    pub(crate) error: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    /// When the probe was published, in quiet time.
    since: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Returned {
    order: u64,
    /// When the probe came back, in quiet time.
    at: Duration,
}

impl Probing {
    /// Suspects all copies that were confirmed before `order`: they, or the replies to them, may be
    /// lost.
    pub(crate) fn suspect(&mut self, order: u64) {
        self.suspect_before = order;
        self.forget_in_flight();
    }

    /// How many probes in a row did not come back in time.
    pub(crate) fn unanswered(&self) -> u32 {
        self.timeouts
    }

    /// The probe in flight may be lost: the next one may be published at once.
    pub(crate) fn forget_in_flight(&mut self) {
        self.in_flight = None;
        self.timeouts = 0;
    }

    /// Whether a copy that was confirmed with this order number at `since` needs a probe.
    pub(crate) fn is_overdue(
        &self,
        order: u64,
        since: Duration,
        now: Duration,
        hold: Duration,
    ) -> bool {
        let was_probed = self.returned.back().is_some_and(|probe| probe.order > order);
        !was_probed && (order < self.suspect_before || now.saturating_sub(since) >= hold)
    }

    /// Whether a probe may be published now. A probe that does not come back is followed by another
    /// after a timeout that doubles each time: it may be lost with its queue, or wait for hours of
    /// work in front of it.
    pub(crate) fn may_probe(&self, now: Duration, hold: Duration) -> bool {
        let Some(in_flight) = self.in_flight else {
            let last = self.returned.back();
            return last.is_none_or(|last| {
                last.order < self.suspect_before
                    || now.saturating_sub(last.at) >= hold / INTERVALS_IN_A_HOLD
            });
        };
        let timeout = hold * (2 << self.timeouts.min(16)).min(MAX_TIMEOUT);
        now.saturating_sub(in_flight.since) >= timeout
    }

    pub(crate) fn published(&mut self, now: Duration) {
        self.timeouts += u32::from(self.in_flight.is_some());
        self.in_flight = Some(InFlight { since: now });
    }

    /// The probe with this order number came back.
    pub(crate) fn returned(&mut self, order: u64, now: Duration) {
        if self.returned.back().is_some_and(|probe| probe.order >= order) {
            return;
        }
        self.forget_in_flight();
        self.error = None;
        if self.returned.len() == MAX_RETURNED {
            // Not the oldest, which is the next to prove a loss. Its successor proves the same
            // losses a little later.
            self.returned.remove(MAX_RETURNED / 2);
        }
        self.returned.push_back(Returned { order, at: now });
    }

    /// Copies that were confirmed before this order number and are not leased are lost: the workers
    /// that took them from the queue have had two holds to settle them.
    pub(crate) fn lost_before(&mut self, now: Duration, hold: Duration) -> u64 {
        let is_conclusive = |probe: &Returned| now.saturating_sub(probe.at) >= 2 * hold;
        while self.returned.get(1).is_some_and(is_conclusive) {
            self.returned.pop_front();
        }
        self.returned.front().filter(|probe| is_conclusive(probe)).map_or(0, |probe| probe.order)
    }

    /// Whether a probe is on its way through the queue.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The time until a copy that was confirmed with this order number counts as lost; `None` until
    /// a probe that was published after it comes back.
    pub(crate) fn lost_in(&self, order: u64, now: Duration, hold: Duration) -> Option<Duration> {
        let probe = self.returned.iter().find(|probe| probe.order > order)?;
        Some((probe.at + 2 * hold).saturating_sub(now))
    }
}

/// The probes of a leader, by pool, and the sequence of order numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probes {
    /// The order number that was assigned last.
    order: u64,
    by_pool: BTreeMap<Pool, Probing>,
}

impl Probes {
    /// An order number for a confirm or a probe, larger than all before.
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

    /// Any probe in flight may be lost, in every pool.
    pub(crate) fn forget_in_flight(&mut self) {
        self.by_pool.values_mut().for_each(Probing::forget_in_flight);
    }

    /// Makes a probe of a pool if one may be published now; returns its order number, which is its
    /// nonce.
    pub(crate) fn probe(&mut self, pool: &Pool, now: Duration, hold: Duration) -> Option<u64> {
        let probing = self.by_pool.get_mut(pool).filter(|probing| probing.may_probe(now, hold))?;
        probing.published(now);
        Some(self.next_order())
    }

    /// A probe came back. An order number that was never assigned proves nothing.
    pub(crate) fn returned(&mut self, pool: &Pool, order: u64, now: Duration) {
        if let Some(probing) = self.by_pool.get_mut(pool)
            && order <= self.order
        {
            probing.returned(order, now);
        }
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Probing> {
        self.by_pool.values()
    }
}

#[cfg(test)]
impl Probing {
    /// A text that is equal for states that behave alike, whatever the time and the order numbers.
    pub(crate) fn canonical(&self, now: Duration, hold: Duration) -> String {
        let in_flight = self.in_flight.map(|probe| (now - probe.since).min(hold * MAX_TIMEOUT));
        let returned =
            self.returned.back().map(|last| (now - last.at).min(hold / INTERVALS_IN_A_HOLD));
        format!("{in_flight:?} {} {returned:?}", self.timeouts.min(5))
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
    fn a_copy_is_lost_two_holds_after_a_later_probe_came_back() {
        let mut probing = Probing::default();
        assert!(!probing.is_overdue(5, at(0), at(29), HOLD));
        assert!(probing.is_overdue(5, at(0), at(30), HOLD) && probing.may_probe(at(30), HOLD));
        probing.published(at(30));
        assert!(!probing.may_probe(at(31), HOLD), "one probe is in flight");
        probing.returned(6, at(40));
        assert!(!probing.is_overdue(5, at(0), at(41), HOLD), "a later probe has come back");
        assert_eq!(probing.lost_in(5, at(50), HOLD), Some(at(50)));
        assert_eq!(probing.lost_before(at(99), HOLD), 0);
        assert_eq!(probing.lost_before(at(100), HOLD), 6);
        assert!(probing.is_overdue(7, at(41), at(100), HOLD), "a copy confirmed after the probe");
    }

    #[test]
    fn probes_that_do_not_come_back_are_followed_by_others_at_doubling_intervals() {
        let mut probing = Probing::default();
        let mut published = Vec::new();
        for second in 0..10_000 {
            if probing.may_probe(at(second), HOLD) {
                probing.published(at(second));
                published.push(second);
            }
        }
        assert_eq!(
            published,
            [0, 60, 180, 420, 900, 1860, 2820, 3780, 4740, 5700, 6660, 7620, 8580, 9540]
        );
        probing.returned(3, at(10_000));
        assert!(!probing.may_probe(at(10_007), HOLD) && probing.may_probe(at(10_008), HOLD));
    }

    #[test]
    fn a_probe_that_comes_back_twice_proves_nothing_new() {
        let mut probing = Probing::default();
        probing.returned(6, at(10));
        probing.returned(6, at(60));
        probing.returned(4, at(60));
        assert_eq!(probing.lost_before(at(70), HOLD), 6);
    }

    #[test]
    fn copies_suspected_after_an_interruption_are_probed_at_once() {
        let mut probing = Probing::default();
        probing.published(at(1));
        probing.suspect(5);
        assert!(probing.may_probe(at(2), HOLD), "the probe in flight may be lost");
        assert!(probing.is_overdue(4, at(1), at(2), HOLD));
        assert!(!probing.is_overdue(5, at(1), at(2), HOLD));
    }

    #[test]
    fn returned_probes_are_bounded_and_the_oldest_still_proves_a_loss() {
        let mut probing = Probing::default();
        for order in 1..100 {
            probing.returned(order, at(0));
        }
        assert_eq!(probing.returned.len(), MAX_RETURNED);
        let mut probing = Probing::default();
        for order in 1..60 {
            probing.returned(order, at(order));
            assert_eq!(probing.lost_before(at(order), HOLD), 0);
        }
        assert_eq!(probing.lost_before(at(61), HOLD), 1);
    }
}
