//! One consumer of the broker on a channel, and how many of its deliveries are in hand.

use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use futures::StreamExt;
use lapin::{message::Delivery, types::ShortString};
use phalanx_core::broker::{Settle, Settler};
use tokio::sync::Notify;

use crate::{acker::ChannelSettler, lock::lock};

/// One consumer of the broker. Its prefetch is fixed when it starts.
pub(crate) struct ConsumerStream {
    consumer: lapin::Consumer,
    prefetch: u16,
    settler: Arc<StreamSettler>,
}

impl ConsumerStream {
    /// `freed` is notified of each settlement once the consumer is cancelled.
    pub(crate) fn new(
        consumer: lapin::Consumer,
        prefetch: u16,
        channel: Arc<ChannelSettler>,
        freed: Arc<Notify>,
    ) -> Self {
        let state = Mutex::new(State { in_hand: 0, phase: Phase::Consuming });
        Self { consumer, prefetch, settler: Arc::new(StreamSettler { channel, freed, state }) }
    }

    pub(crate) fn prefetch(&self) -> u16 {
        self.prefetch
    }

    pub(crate) fn tag(&self) -> ShortString {
        self.consumer.tag()
    }

    pub(crate) fn settler(&self) -> &Arc<StreamSettler> {
        &self.settler
    }

    /// The next delivery, which is in hand from then on; `None` when the consumer is cancelled and
    /// all that it received before has been taken.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Delivery, lapin::Error>>> {
        let next = self.consumer.poll_next_unpin(cx);
        if let Poll::Ready(Some(Ok(_))) = next {
            lock(&self.settler.state).in_hand += 1;
        }
        next
    }

    /// Defers settlements if the whole prefetch is in hand; otherwise does nothing and returns
    /// `false`.
    ///
    /// A cancelled consumer's messages that the queue had assigned and the channel had not sent yet
    /// come back as redelivered. There are none if the whole prefetch is in hand, because then the
    /// broker assigns nothing before it reads another settlement, and as these wait, it reads the
    /// cancellation first.
    pub(crate) fn defer_if_full(&self) -> bool {
        let mut state = lock(&self.settler.state);
        let is_full = state.in_hand >= usize::from(self.prefetch);
        if is_full {
            state.phase = Phase::Cancelling { deferred: Vec::new() };
        }
        is_full
    }
}

/// Settles the deliveries of one stream, and counts those in hand.
pub(crate) struct StreamSettler {
    channel: Arc<ChannelSettler>,
    freed: Arc<Notify>,
    state: Mutex<State>,
}

struct State {
    /// The deliveries that were received and are not settled.
    in_hand: usize,
    phase: Phase,
}

enum Phase {
    Consuming,
    /// The broker has yet to confirm the cancellation.
    Cancelling {
        /// At most `in_hand`, because each delivery is settled once.
        deferred: Vec<(u64, Settle)>,
    },
    Cancelled,
}

impl StreamSettler {
    /// The deliveries that were received and are not settled.
    pub(crate) fn in_hand(&self) -> usize {
        lock(&self.state).in_hand
    }

    /// Marks the consumer as cancelled, and sends the settlements that waited for that.
    pub(crate) fn cancelled(&self) {
        let before = std::mem::replace(&mut lock(&self.state).phase, Phase::Cancelled);
        if let Phase::Cancelling { deferred } = before {
            deferred.into_iter().for_each(|(tag, settle)| self.settle(tag, settle));
        }
    }
}

impl Settler for StreamSettler {
    fn settle(&self, tag: u64, settle: Settle) {
        let mut state = lock(&self.state);
        if let Phase::Cancelling { deferred } = &mut state.phase {
            return deferred.push((tag, settle));
        }
        state.in_hand = state.in_hand.saturating_sub(1);
        let is_cancelled = matches!(state.phase, Phase::Cancelled);
        drop(state);
        self.channel.settle(tag, settle);
        if is_cancelled {
            self.freed.notify_one();
        }
    }
}
