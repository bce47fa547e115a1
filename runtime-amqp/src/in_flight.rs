//! The unconfirmed messages of one channel, and how long they have been unconfirmed.

use std::{collections::VecDeque, time::Duration};

use futures::{future::BoxFuture, stream::FuturesUnordered};
use lapin::{Confirmation, types::ShortString};
use phalanx_core::broker::PublishError;
use tokio::sync::oneshot;

/// The unit in which the age of unconfirmed messages is counted.
pub(crate) const TICK: Duration = Duration::from_secs(1);
/// How many healthy ticks (connected, not blocked) a confirm may take.
const CONFIRM_TIMEOUT_TICKS: usize = 30;

/// A published message that is not confirmed yet: all that its outcome needs, without the body.
pub(crate) struct Sent {
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

/// Whether a queue got the message, if the broker has confirmed it.
pub(crate) fn outcome(confirmation: Confirmation) -> Result<bool, PublishError> {
    match confirmation {
        Confirmation::Ack(returned) => Ok(returned.is_none()),
        Confirmation::Nack(_) => Err(PublishError::Nacked {
            reason: "its queue is full, being deleted, or on a node in trouble".to_owned(),
        }),
        // Never happens in confirm mode. If it did, the outcome would be unknown.
        Confirmation::NotRequested => Err(PublishError::Lost),
    }
}

/// The unconfirmed messages of one channel.
#[derive(Default)]
pub(crate) struct InFlight {
    pub(crate) confirms: FuturesUnordered<BoxFuture<'static, Resolved>>,
    /// The bodies of the unconfirmed messages, in bytes.
    pub(crate) bytes: usize,
    /// Healthy ticks since the channel was opened.
    pub(crate) now: u64,
    /// The number of unconfirmed messages by the tick in which they were published; the current
    /// tick is the last. At most [`CONFIRM_TIMEOUT_TICKS`] of them between two ticks.
    by_tick: VecDeque<usize>,
}

impl InFlight {
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
        self.bytes -= sent.size;
        let age = (self.now - sent.tick) as usize;
        let slot = self.by_tick.len().checked_sub(1 + age);
        if let Some(unconfirmed) = slot.and_then(|slot| self.by_tick.get_mut(slot)) {
            *unconfirmed -= 1;
        }
    }

    /// Counts one healthy tick; returns whether a confirm is overdue.
    pub(crate) fn tick(&mut self) -> bool {
        self.now += 1;
        self.by_tick.push_back(0);
        if self.by_tick.len() <= CONFIRM_TIMEOUT_TICKS {
            return false;
        }
        self.by_tick.pop_front().is_some_and(|unconfirmed| unconfirmed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(in_flight: &InFlight) -> Sent {
        let (done, _) = oneshot::channel();
        Sent { exchange: "e".into(), size: 10, tick: in_flight.now, done }
    }

    #[test]
    fn a_confirm_is_overdue_after_thirty_healthy_seconds_and_no_sooner() {
        let mut in_flight = InFlight::default();
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
        let mut in_flight = InFlight::default();
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
}
