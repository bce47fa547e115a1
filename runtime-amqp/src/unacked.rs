//! Which deliveries of a channel are settled, and which acks that allows.

use std::collections::BTreeSet;

/// Which deliveries of a channel are settled, and which of their acks are still to be sent.
///
/// Delivery tags count from 1 without gaps. So `unsettled` holds at most a prefetch of tags, even
/// if one delivery stays unsettled while thousands after it come and go.
#[derive(Debug, Default)]
pub(crate) struct Unacked {
    /// The highest settled tag.
    highest: u64,
    /// Tags below `highest` that are not settled.
    unsettled: BTreeSet<u64>,
    /// Settled by an ack that has not been sent yet.
    pending: Vec<u64>,
}

/// One ack to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) tag: u64,
    /// Whether it covers all earlier deliveries too.
    pub(crate) multiple: bool,
}

impl Unacked {
    /// Marks a delivery as settled other than by an ack.
    pub(crate) fn settle(&mut self, tag: u64) {
        if tag > self.highest {
            self.unsettled.extend(self.highest + 1..tag);
            self.highest = tag;
        } else {
            self.unsettled.remove(&tag);
        }
    }

    /// Marks a delivery as settled by an ack, which the next [`flush`](Self::flush) returns.
    pub(crate) fn ack(&mut self, tag: u64) {
        self.settle(tag);
        self.pending.push(tag);
    }

    /// The number of acks that have not been sent yet.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The acks to send now: one for all pending deliveries before the first unsettled one, and one
    /// for each pending delivery after it.
    ///
    /// The first of these names a pending tag, never one that was rejected or requeued: the broker
    /// no longer has those, and closes the channel on an ack of one.
    pub(crate) fn flush(&mut self) -> Vec<Ack> {
        let first_unsettled = self.unsettled.first().copied().unwrap_or(u64::MAX);
        let mut acks = Vec::new();
        let (mut prefix, mut prefix_length) = (0, 0);
        for tag in self.pending.drain(..) {
            if tag < first_unsettled {
                prefix = prefix.max(tag);
                prefix_length += 1;
            } else {
                acks.push(Ack { tag, multiple: false });
            }
        }
        if prefix_length > 0 {
            acks.push(Ack { tag: prefix, multiple: prefix_length > 1 });
        }
        acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(tag: u64) -> Ack {
        Ack { tag, multiple: false }
    }

    fn up_to(tag: u64) -> Ack {
        Ack { tag, multiple: true }
    }

    fn acked(unacked: &mut Unacked, tags: impl IntoIterator<Item = u64>) {
        tags.into_iter().for_each(|tag| unacked.ack(tag));
    }

    #[test]
    fn a_settled_prefix_is_acked_as_one_in_any_order_of_settling() {
        let mut unacked = Unacked::default();
        acked(&mut unacked, [3, 1, 2]);
        assert_eq!(unacked.flush(), [up_to(3)]);
        acked(&mut unacked, [4]);
        assert_eq!(unacked.flush(), [one(4)]);
        assert_eq!(unacked.flush(), []);
    }

    #[test]
    fn an_ack_never_covers_an_unsettled_delivery() {
        let mut unacked = Unacked::default();
        acked(&mut unacked, [1, 2, 4, 6, 7]);
        assert_eq!(unacked.flush(), [one(4), one(6), one(7), up_to(2)]);
        acked(&mut unacked, [3, 8]);
        assert_eq!(unacked.flush(), [one(8), one(3)]);
        acked(&mut unacked, [5, 9]);
        assert_eq!(unacked.flush(), [up_to(9)]);
    }

    #[test]
    fn an_ack_never_names_a_rejected_delivery() {
        let mut unacked = Unacked::default();
        acked(&mut unacked, [1, 2]);
        unacked.settle(3);
        assert_eq!(unacked.flush(), [up_to(2)]);
        unacked.settle(4);
        acked(&mut unacked, [5]);
        assert_eq!(unacked.flush(), [one(5)]);
        unacked.settle(6);
        assert_eq!(unacked.flush(), []);
    }

    #[test]
    fn the_memory_used_is_bounded_by_the_unsettled_deliveries() {
        let mut unacked = Unacked::default();
        for tag in 2..10_000 {
            acked(&mut unacked, [tag]);
            unacked.flush();
        }
        assert_eq!(unacked.unsettled.len(), 1);
    }

    /// Every order of settling six deliveries, with flushes anywhere and some rejected: the broker
    /// receives an ack of each acked delivery exactly once, and none of an unsettled or rejected
    /// one.
    #[test]
    fn every_order_acks_each_delivery_exactly_once() {
        fn permutations(rest: Vec<u64>, order: Vec<u64>, visit: &mut impl FnMut(&[u64])) {
            if rest.is_empty() {
                return visit(&order);
            }
            for tag in &rest {
                let rest = rest.iter().copied().filter(|other| other != tag).collect();
                permutations(rest, [order.as_slice(), &[*tag]].concat(), visit);
            }
        }
        permutations((1..=6).collect(), Vec::new(), &mut |order| {
            for bits in 0..64u32 {
                let (flush_after, rejected) = (bits, bits.rotate_left(3) & 0b101);
                let mut unacked = Unacked::default();
                // The deliveries that the broker holds: unsettled, or settled but not acked yet.
                let mut held: BTreeSet<u64> = (1..=6).collect();
                let mut unsettled = held.clone();
                let receive =
                    |acks: Vec<Ack>, unsettled: &BTreeSet<u64>, held: &mut BTreeSet<u64>| {
                        for ack in acks {
                            assert!(held.contains(&ack.tag), "{order:?} {bits:b}: {ack:?}");
                            let covered: Vec<u64> = match ack.multiple {
                                true => held.range(..=ack.tag).copied().collect(),
                                false => vec![ack.tag],
                            };
                            for tag in covered {
                                assert!(!unsettled.contains(&tag), "{order:?} {bits:b}: {ack:?}");
                                held.remove(&tag);
                            }
                        }
                    };
                for (step, tag) in order.iter().enumerate() {
                    unsettled.remove(tag);
                    if rejected & (1 << step) != 0 {
                        unacked.settle(*tag);
                        held.remove(tag);
                    } else {
                        unacked.ack(*tag);
                    }
                    if flush_after & (1 << step) != 0 {
                        receive(unacked.flush(), &unsettled, &mut held);
                    }
                }
                receive(unacked.flush(), &unsettled, &mut held);
                assert!(held.is_empty(), "{order:?} {bits:b}: {held:?}");
            }
        });
    }
}
