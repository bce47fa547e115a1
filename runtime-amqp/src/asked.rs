//! The requests about queues that have no reply yet.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex},
    time::Duration,
};

use phalanx_core::broker::QueueAction;
use tokio::time::Instant;

use crate::lock::lock;

/// A request about a queue, by its name: to do this to it, or to consume from it.
type Request = (String, Option<QueueAction>);

/// The requests about queues that have no reply yet, so that none is repeated while the first one
/// waits for a node that is down.
///
/// As many as are on their way: the channels for them are bounded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<HashMap<Request, Instant>>>);

impl Asked {
    /// Whether such a request has waited for its reply for this long.
    pub(crate) fn has_waited(
        &self,
        queue: &str,
        action: Option<QueueAction>,
        time: Duration,
    ) -> bool {
        let asked = lock(&self.0);
        asked.get(&(queue.to_owned(), action)).is_some_and(|since| since.elapsed() >= time)
    }

    /// Counts a request until what this returns is dropped; not if there is such a one already.
    pub(crate) fn begin(&self, queue: &str, action: Option<QueueAction>) -> Option<Waiting> {
        match lock(&self.0).entry((queue.to_owned(), action)) {
            Entry::Occupied(_) => None,
            Entry::Vacant(vacant) => {
                let request = vacant.key().clone();
                vacant.insert(Instant::now());
                Some(Waiting { asked: self.clone(), request })
            }
        }
    }
}

/// A request that waits for its reply, until this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    asked: Asked,
    request: Request,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.asked.0).remove(&self.request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_from_its_first_time_until_its_reply() {
        const LONG: Duration = Duration::from_secs(5);
        let asked = Asked::default();
        let check = Some(QueueAction::Check);
        let first = asked.begin("a", check);
        assert!(!asked.has_waited("a", check, LONG));
        tokio::time::advance(LONG).await;
        assert!(asked.has_waited("a", check, LONG));
        // The reply to a second one says nothing about the first.
        drop(asked.begin("a", check));
        assert!(asked.has_waited("a", check, LONG));
        assert!(!asked.has_waited("b", check, LONG) && !asked.has_waited("a", None, LONG));
        drop(first);
        assert!(!asked.has_waited("a", check, LONG));
    }
}
