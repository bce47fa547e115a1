//! The times of the delivery protocol that leaders and workers must agree on.
//!
//! Both sides import them from here, so that no formula of one side relies on a copy in the other.

use std::time::Duration;

/// Default of how long a worker holds a delivery without settling it (rule 8); also the longest
/// hold that a worker accepts, because leaders count on it.
pub const HOLD: Duration = Duration::from_secs(30);

/// The shortest hold: with less, most deliveries would be settled by leases.
pub const SHORTEST_HOLD: Duration = Duration::from_millis(100);

/// The longest interval between the heartbeats of a leader (`Alive`), of a worker (`Presence`) and
/// of a lease.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// Heartbeats of a lease that a leader misses before it considers the copy lost (rule 13).
pub const MISSED_HEARTBEATS: u32 = 3;

/// How long a worker counts as live after its last presence.
pub const PRESENCE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long after the last `Alive` of a leader its tasks are still run (rule 21).
pub const LEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long after the first task of a leader of which no `Alive` has come its tasks are still run
/// (rule 21).
pub const FIRST_ALIVE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the reply queue of a leader outlives its last consumer (`x-expires`). After that a
/// leader is gone, and its running tasks are cancelled.
pub const REPLY_QUEUE_EXPIRES: Duration = Duration::from_secs(30 * 60);

/// The interval between two heartbeats of a lease at a worker with this hold: several fit into one
/// hold.
pub fn lease_interval(hold: Duration) -> Duration {
    HEARTBEAT.min(hold / 6)
}

/// How long after its last heartbeat the lease of a worker with this hold counts as lost.
pub fn lease_timeout(hold: Duration) -> Duration {
    lease_interval(hold) * MISSED_HEARTBEATS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_misses_three_presences_is_not_live() {
        assert_eq!(PRESENCE_TIMEOUT, HEARTBEAT * MISSED_HEARTBEATS);
    }

    #[test]
    fn a_lease_is_lost_within_half_a_hold_of_its_last_heartbeat() {
        for hold in [SHORTEST_HOLD, Duration::from_secs(1), HOLD] {
            assert!(lease_timeout(hold) <= hold / 2, "{hold:?}");
            assert!(
                lease_interval(hold) * 2 < lease_timeout(hold),
                "one late heartbeat is not missed"
            );
        }
    }
}
