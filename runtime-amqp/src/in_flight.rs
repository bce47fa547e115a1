//! The unconfirmed messages of one channel, and how long they have been unconfirmed.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use futures::{future::BoxFuture, stream::FuturesUnordered};
use lapin::{Confirmation, message::BasicReturnMessage, types::ShortString};
use phalanx_core::broker::PublishError;
use tokio::sync::oneshot;

/// The unit in which the age of unconfirmed messages is counted.
pub(crate) const TICK: Duration = Duration::from_secs(1);
/// How many healthy ticks (connected, not blocked) a confirm may take while others arrive.
const CONFIRM_TIMEOUT_TICKS: usize = 30;

/// How many healthy ticks may pass without any confirm while messages are unconfirmed: one interval
/// of `heartbeat` seconds. A stream that has lost bytes brings none, ever.
pub(crate) fn silence_limit(heartbeat: u16) -> usize {
    match usize::from(heartbeat) {
        0 => CONFIRM_TIMEOUT_TICKS, // No heartbeats.
        seconds => seconds.min(CONFIRM_TIMEOUT_TICKS),
    }
}

/// A published message that is not confirmed yet: all that its outcome needs, without the body.
pub(crate) struct Sent {
    /// Unique on its channel.
    pub(crate) id: u64,
    pub(crate) exchange: ShortString,
    /// Of the body, in bytes.
    pub(crate) size: usize,
    /// The value of [`InFlight::now`] at which it was published.
    pub(crate) tick: u64,
    /// Receives whether a queue got the message. Dropped unused, it counts as
    /// [`PublishError::Lost`].
    pub(crate) done: oneshot::Sender<Result<bool, PublishError>>,
}

/// A message and how the broker or lapin resolved its confirm.
pub(crate) type Resolved = (Sent, Result<Confirmation, lapin::Error>);

/// The id of a message that the broker returned because it was unroutable.
fn id_of(returned: &BasicReturnMessage) -> Option<u64> {
    returned.properties.message_id().as_ref()?.as_str().parse().ok()
}

/// The unconfirmed messages of one channel.
pub(crate) struct InFlight {
    pub(crate) confirms: FuturesUnordered<BoxFuture<'static, Resolved>>,
    /// The number of messages that were published.
    published: u64,
    /// The messages that were returned and are not confirmed yet. lapin attaches a returned message
    /// to the next confirm that arrives, which may be that of an earlier message.
    returned: HashSet<u64>,
    /// The bodies of the unconfirmed messages, in bytes.
    pub(crate) bytes: usize,
    /// Healthy ticks since the channel was opened.
    pub(crate) now: u64,
    /// The number of unconfirmed messages by the tick in which they were published; the current
    /// tick is the last. At most [`CONFIRM_TIMEOUT_TICKS`] of them between two ticks.
    by_tick: VecDeque<usize>,
    /// Healthy ticks since the last confirm, or since the oldest unconfirmed message was published.
    silent: usize,
    /// See [`silence_limit`].
    silence_limit: usize,
}

impl InFlight {
    pub(crate) fn new(silence_limit: usize) -> Self {
        Self {
            confirms: FuturesUnordered::new(),
            published: 0,
            returned: HashSet::new(),
            bytes: 0,
            now: 0,
            by_tick: VecDeque::new(),
            silent: 0,
            silence_limit,
        }
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.published += 1;
        self.published
    }

    /// Whether a queue got the message, if the broker has confirmed it.
    pub(crate) fn outcome(
        &mut self,
        sent: &Sent,
        confirmation: Confirmation,
    ) -> Result<bool, PublishError> {
        let (is_confirmed, returned) = match confirmation {
            Confirmation::Ack(returned) => (true, returned),
            Confirmation::Nack(returned) => (false, returned),
            // Never happens in confirm mode. If it did, the outcome would be unknown.
            Confirmation::NotRequested => return Err(PublishError::Lost),
        };
        if let Some(returned) = &returned {
            self.returned.extend(id_of(returned));
        }
        let is_returned = self.returned.remove(&sent.id);
        // What is left then came back after its confirm, against the protocol.
        if self.confirms.is_empty() {
            self.returned.clear();
        }
        if !is_confirmed {
            let reason = "its queue is full, being deleted, or on a node in trouble".to_owned();
            return Err(PublishError::Nacked { reason });
        }
        Ok(!is_returned)
    }

    pub(crate) fn add(&mut self, sent: &Sent) {
        self.bytes += sent.size;
        if self.by_tick.is_empty() {
            self.by_tick.push_back(0);
        }
        if let Some(unconfirmed) = self.by_tick.back_mut() {
            *unconfirmed += 1;
        }
    }

    pub(crate) fn remove(&mut self, sent: &Sent) {
        self.silent = 0;
        self.bytes -= sent.size;
        let age = (self.now - sent.tick) as usize;
        let slot = self.by_tick.len().checked_sub(1 + age);
        if let Some(unconfirmed) = slot.and_then(|slot| self.by_tick.get_mut(slot)) {
            *unconfirmed -= 1;
        }
    }

    /// Counts one healthy tick; returns whether a confirm is overdue.
    pub(crate) fn tick(&mut self) -> bool {
        let is_waiting = self.by_tick.iter().any(|unconfirmed| *unconfirmed > 0);
        self.silent = if is_waiting { self.silent + 1 } else { 0 };
        self.now += 1;
        self.by_tick.push_back(0);
        let mut is_late = false;
        if self.by_tick.len() > CONFIRM_TIMEOUT_TICKS {
            is_late = self.by_tick.pop_front().is_some_and(|unconfirmed| unconfirmed > 0);
        }
        // The first tick may follow at once.
        is_late || self.silent > self.silence_limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(in_flight: &InFlight) -> Sent {
        let (done, _) = oneshot::channel();
        Sent { id: 1, exchange: "e".into(), size: 10, tick: in_flight.now, done }
    }

    #[test]
    fn a_confirm_is_overdue_after_thirty_healthy_seconds_and_no_sooner() {
        let mut in_flight = InFlight::new(silence_limit(10));
        let early = sent(&in_flight);
        in_flight.add(&early);
        for _ in 0..CONFIRM_TIMEOUT_TICKS - 1 {
            assert!(!in_flight.tick());
            let confirmed_soon = sent(&in_flight);
            in_flight.add(&confirmed_soon);
            in_flight.remove(&confirmed_soon);
        }
        assert!(in_flight.tick(), "later confirms do not excuse the missing one");
        assert_eq!(in_flight.bytes, 10);
    }

    #[test]
    fn a_confirmed_message_is_never_overdue() {
        let mut in_flight = InFlight::new(silence_limit(0));
        for _ in 0..3 * CONFIRM_TIMEOUT_TICKS {
            let late = sent(&in_flight);
            in_flight.add(&late);
            for _ in 0..CONFIRM_TIMEOUT_TICKS - 1 {
                assert!(!in_flight.tick());
            }
            in_flight.remove(&late);
            assert!(!in_flight.tick());
        }
        assert_eq!(in_flight.bytes, 0);
        assert!(in_flight.by_tick.len() <= CONFIRM_TIMEOUT_TICKS);
    }

    #[test]
    fn a_confirm_is_overdue_if_none_arrives_for_the_interval_of_a_heartbeat() {
        let mut in_flight = InFlight::new(silence_limit(3));
        for _ in 0..9 {
            assert!(!in_flight.tick(), "nothing is unconfirmed");
        }
        for _ in 0..3 {
            in_flight.add(&sent(&in_flight));
            assert!(!in_flight.tick());
        }
        assert!(in_flight.tick(), "publishing more does not excuse it");
        let other = sent(&in_flight);
        in_flight.add(&other);
        in_flight.remove(&other);
        assert!(!in_flight.tick(), "the stream is whole: the others may take longer");
    }
}
