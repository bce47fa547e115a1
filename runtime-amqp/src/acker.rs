//! Settles the deliveries of one channel, many at once where it can.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use lapin::{
    Channel,
    options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions},
};
use phalanx_core::broker::{Role, Settle, Settler};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

/// When acks are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AckPolicy {
    /// At the latest when so many wait.
    batch: usize,
    /// Or when the first of them has waited so long for company; at once where there is none.
    linger: Option<Duration>,
}

impl AckPolicy {
    /// A worker's acks make room for the next tasks: they go as soon as nothing else is to do. A
    /// leader takes results in streams.
    pub(crate) fn of(role: Role) -> Self {
        match role {
            Role::Leader => Self { batch: 64, linger: Some(Duration::from_millis(2)) },
            _ => Self { batch: 16, linger: None },
        }
    }
}

/// Settles the deliveries of one channel, for as long as anybody holds one.
///
/// Each channel has its own: what belongs to a channel that is gone finds nobody to tell, and that
/// is right, as the broker has taken it back.
pub(crate) struct ChannelSettler {
    /// Bounded by the prefetch: each delivery is settled once.
    orders: mpsc::UnboundedSender<Order>,
}

enum Order {
    Settle(u64, Settle),
    Flush(oneshot::Sender<()>),
    Await(Drain),
}

/// Somebody waits until fewer than `limit` of the deliveries up to `tag` are out, and hears how
/// many still are.
struct Drain {
    tag: u64,
    limit: usize,
    done: oneshot::Sender<usize>,
}

impl Settler for ChannelSettler {
    fn settle(&self, tag: u64, settle: Settle) {
        // An error means that the channel is gone: a no-op.
        let _ = self.orders.send(Order::Settle(tag, settle));
    }
}

impl ChannelSettler {
    /// Its task owns a clone of the channel, and with it keeps the channel open.
    pub(crate) fn spawn(
        channel: Channel,
        policy: AckPolicy,
        prefetch: Arc<AtomicU16>,
    ) -> Arc<Self> {
        let (orders, received) = mpsc::unbounded_channel();
        let acker = Acker {
            channel,
            policy,
            prefetch,
            orders: received,
            unacked: Unacked::default(),
            drain: None,
        };
        tokio::spawn(acker.run());
        Arc::new(Self { orders })
    }

    /// Resolves when fewer than `limit` of the deliveries up to `tag` are unsettled, with their
    /// number. Takes the place of an earlier such wait.
    pub(crate) fn drained(&self, tag: u64, limit: usize) -> oneshot::Receiver<usize> {
        let (done, drained) = oneshot::channel();
        let _ = self.orders.send(Order::Await(Drain { tag, limit, done }));
        drained
    }

    /// Resolves when all that was settled before has been written to the connection.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.orders.send(Order::Flush(done)).is_ok() {
            let _ = written.await;
        }
    }
}

struct Acker {
    channel: Channel,
    policy: AckPolicy,
    prefetch: Arc<AtomicU16>,
    orders: mpsc::UnboundedReceiver<Order>,
    unacked: Unacked,
    drain: Option<Drain>,
}

impl Acker {
    async fn run(mut self) {
        while let Some(order) = self.orders.recv().await {
            if let Err(error) = self.round(order).await {
                tracing::debug!(%error, "acks end with their channel");
                return;
            }
        }
    }

    /// One order and its followers, up to a batch; then all acks are written.
    async fn round(&mut self, first: Order) -> Result<(), lapin::Error> {
        let until = self.policy.linger.map(|linger| Instant::now() + linger);
        // More than half of the prefetch must not wait: the broker would stop delivering.
        let half = usize::from(self.prefetch.load(Ordering::Relaxed) / 2);
        let batch = self.policy.batch.min(half).max(1);
        let mut flushed = Vec::new();
        let mut next = Some(first);
        while let Some(order) = next.take() {
            match order {
                Order::Settle(tag, settle) => self.settle(tag, settle).await?,
                Order::Flush(done) => flushed.push(done),
                Order::Await(drain) => self.drain = Some(drain),
            }
            if self.unacked.waiting() >= batch || !flushed.is_empty() {
                break;
            }
            next = match (self.orders.try_recv(), until) {
                (Ok(order), _) => Some(order),
                (Err(_), Some(until)) if self.unacked.waiting() > 0 => {
                    timeout_at(until, self.orders.recv()).await.ok().flatten()
                }
                _ => None,
            };
        }
        for Ack { tag, multiple } in self.unacked.flush() {
            self.channel.basic_ack(tag, BasicAckOptions { multiple }).await?;
        }
        for done in flushed {
            let _ = done.send(());
        }
        if let Some(drain) = self.drain.take_if(|drain| self.unacked.out(drain.tag) < drain.limit) {
            let _ = drain.done.send(self.unacked.out(drain.tag));
        }
        Ok(())
    }

    async fn settle(&mut self, tag: u64, settle: Settle) -> Result<(), lapin::Error> {
        self.unacked.settled(tag);
        match settle {
            Settle::Ack => {
                self.unacked.wait(tag);
                Ok(())
            }
            Settle::Reject => {
                self.channel.basic_reject(tag, BasicRejectOptions { requeue: false }).await
            }
            // Not `basic.reject`: from 4.3 on that would count as a failure of the message.
            Settle::Requeue => {
                let options = BasicNackOptions { multiple: false, requeue: true };
                self.channel.basic_nack(tag, options).await
            }
        }
    }
}

/// What of a channel's deliveries has been settled.
///
/// Tags count from 1 without gaps, so `unsettled` is bounded by the prefetch, however long one
/// delivery keeps its neighbours waiting.
#[derive(Debug, Default)]
struct Unacked {
    /// The highest tag that was settled.
    highest: u64,
    /// Tags below `highest` that are not settled.
    unsettled: BTreeSet<u64>,
    /// Settled by an ack of which the broker has not heard yet.
    waiting: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ack {
    tag: u64,
    /// Whether it means all deliveries up to this one.
    multiple: bool,
}

impl Unacked {
    fn settled(&mut self, tag: u64) {
        if tag > self.highest {
            self.unsettled.extend(self.highest + 1..tag);
            self.highest = tag;
        } else {
            self.unsettled.remove(&tag);
        }
    }

    /// How many deliveries up to this one are not settled.
    fn out(&self, tag: u64) -> usize {
        let never_settled = tag.saturating_sub(self.highest) as usize;
        self.unsettled.range(..=tag).count() + never_settled
    }

    /// An ack that waits for company.
    fn wait(&mut self, tag: u64) {
        self.waiting.push(tag);
    }

    fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The acks to be sent: one for the part of the gap-free settled prefix that waits, and one
    /// for each of those behind a delivery that is still out.
    ///
    /// The prefix's tag is one that waits, never one that was rejected before: the broker knows
    /// that no more, would ack everything in its place, and close the channel.
    fn flush(&mut self) -> Vec<Ack> {
        let first_out = self.unsettled.first().copied().unwrap_or(u64::MAX);
        let mut acks = Vec::new();
        let (mut prefix, mut prefix_length) = (0, 0);
        for tag in self.waiting.drain(..) {
            if tag < first_out {
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
        for tag in tags {
            unacked.settled(tag);
            unacked.wait(tag);
        }
    }

    #[test]
    fn a_settled_prefix_is_acked_at_once_in_whatever_order_it_came() {
        let mut unacked = Unacked::default();
        acked(&mut unacked, [3, 1, 2]);
        assert_eq!(unacked.flush(), [up_to(3)]);
        acked(&mut unacked, [4]);
        assert_eq!(unacked.flush(), [one(4)]);
        assert_eq!(unacked.flush(), []);
    }

    #[test]
    fn an_ack_never_covers_a_delivery_that_is_still_out() {
        let mut unacked = Unacked::default();
        acked(&mut unacked, [1, 2, 4, 6, 7]);
        assert_eq!(unacked.flush(), [one(4), one(6), one(7), up_to(2)]);
        acked(&mut unacked, [3, 8]);
        assert_eq!(unacked.flush(), [one(8), one(3)]);
        acked(&mut unacked, [5, 9]);
        assert_eq!(unacked.flush(), [up_to(9)]);
    }

    #[test]
    fn an_ack_never_names_a_delivery_that_was_rejected() {
        let mut unacked = Unacked::default();
        acked(&mut unacked, [1, 2]);
        unacked.settled(3);
        assert_eq!(unacked.flush(), [up_to(2)]);
        unacked.settled(4);
        acked(&mut unacked, [5]);
        assert_eq!(unacked.flush(), [one(5)]);
        unacked.settled(6);
        assert_eq!(unacked.flush(), []);
    }

    #[test]
    fn what_is_out_is_counted_up_to_a_tag() {
        let mut unacked = Unacked::default();
        assert_eq!(unacked.out(5), 5);
        acked(&mut unacked, [2, 4]);
        assert_eq!([unacked.out(0), unacked.out(3), unacked.out(5)], [0, 2, 3]);
        acked(&mut unacked, [1, 3, 7]);
        assert_eq!([unacked.out(4), unacked.out(7)], [0, 2]);
    }

    #[test]
    fn what_is_remembered_is_bounded_by_what_is_out() {
        let mut unacked = Unacked::default();
        for tag in 2..10_000 {
            acked(&mut unacked, [tag]);
            unacked.flush();
        }
        assert_eq!(unacked.unsettled.len(), 1);
    }

    /// Every order of settling six deliveries, with flushes anywhere and some rejected: the broker
    /// hears of each acked delivery exactly once, and never of one that is out or rejected.
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
                // What the broker holds: out or settled, in tag order.
                let mut held: BTreeSet<u64> = (1..=6).collect();
                let mut out = held.clone();
                let hear = |acks: Vec<Ack>, out: &BTreeSet<u64>, held: &mut BTreeSet<u64>| {
                    for ack in acks {
                        assert!(held.contains(&ack.tag), "{order:?} {bits:b}: {ack:?}");
                        let covered: Vec<u64> = match ack.multiple {
                            true => held.range(..=ack.tag).copied().collect(),
                            false => vec![ack.tag],
                        };
                        for tag in covered {
                            assert!(!out.contains(&tag), "{order:?} {bits:b}: {ack:?}");
                            held.remove(&tag);
                        }
                    }
                };
                for (step, tag) in order.iter().enumerate() {
                    out.remove(tag);
                    unacked.settled(*tag);
                    if rejected & (1 << step) != 0 {
                        held.remove(tag);
                    } else {
                        unacked.wait(*tag);
                    }
                    if flush_after & (1 << step) != 0 {
                        hear(unacked.flush(), &out, &mut held);
                    }
                }
                hear(unacked.flush(), &out, &mut held);
                assert!(held.is_empty(), "{order:?} {bits:b}: {held:?}");
            }
        });
    }
}
