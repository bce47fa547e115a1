//! The health of a process's two connections, reported as one.

use std::sync::Mutex;

use phalanx_core::broker::Health;
use tokio::sync::watch;

use crate::lock::lock;

/// The purpose of a connection.
///
/// A process has one of each, because a broker that is short of memory stops reading from
/// connections that publish: acks must not queue up in one of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Publishing,
    /// Consumes and declares: declarations must work while publishing is blocked.
    Consuming,
}

/// The health of one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct LinkHealth {
    /// How many times it has been connected.
    pub(crate) generation: u64,
    pub(crate) connected: bool,
    /// Why the broker has blocked it, in the broker's words.
    pub(crate) blocked: Option<String>,
    /// Why it was lost last or cannot be opened again.
    pub(crate) reason: Option<String>,
}

/// Combines the health of both connections into the [`Health`] that the broker reports.
pub(crate) struct CombinedHealth {
    links: Mutex<[LinkHealth; 2]>,
    combined: watch::Sender<Health>,
}

impl CombinedHealth {
    pub(crate) fn new() -> Self {
        Self { links: Mutex::default(), combined: watch::Sender::default() }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Health> {
        self.combined.subscribe()
    }

    /// The combined generation: 0 until both connections are up, then 1, plus one for each
    /// reconnect of either.
    pub(crate) fn generation(&self) -> u64 {
        self.combined.borrow().generation
    }

    pub(crate) fn update(&self, purpose: Purpose, change: impl FnOnce(&mut LinkHealth)) {
        let mut links = lock(&self.links);
        change(&mut links[purpose as usize]);
        let [publishing, consuming] = &*links;
        // Published under the lock: otherwise an older state could overtake a newer one.
        self.combined.send_modify(|health| {
            let both = publishing.generation > 0 && consuming.generation > 0;
            let sum = publishing.generation + consuming.generation;
            health.generation = if both { sum - 1 } else { 0 };
            health.connected = publishing.connected && consuming.connected;
            health.blocked = publishing.blocked.clone().or_else(|| consuming.blocked.clone());
            // The reason of a connection that is down comes first.
            let by_need = match publishing.connected {
                true => [consuming, publishing],
                false => [publishing, consuming],
            };
            health.reason = by_need.iter().find_map(|link| link.reason.clone());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_combined_health_is_the_worse_of_both_connections() {
        let health = CombinedHealth::new();
        let up = |generation| LinkHealth { generation, connected: true, ..LinkHealth::default() };
        health.update(Purpose::Consuming, |link| *link = up(1));
        assert_eq!(*health.watch().borrow(), Health::default());
        health.update(Purpose::Publishing, |link| *link = up(1));
        assert_eq!(health.generation(), 1);
        assert!(health.watch().borrow().is_well());
        health.update(Purpose::Publishing, |link| link.blocked = Some("memory".to_owned()));
        assert!(health.watch().borrow().connected && !health.watch().borrow().is_well());
        health.update(Purpose::Publishing, |link| *link = up(2));
        assert_eq!(health.generation(), 2);
        health.update(Purpose::Publishing, |link| link.reason = Some("before".to_owned()));
        health.update(Purpose::Consuming, |link| {
            *link = LinkHealth { reason: Some("now".to_owned()), ..LinkHealth::default() };
        });
        assert!(!health.watch().borrow().connected);
        assert_eq!(health.watch().borrow().reason.as_deref(), Some("now"));
    }
}
