//! Processes that are killed, told to end, or hang.

use std::time::Duration;

use phalanx_chaos::{Fault, FaultKind, Party, Place, Schedule};

use crate::{schedule, shared, survived};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_die_drain_and_hang_cost_no_element() {
    let kinds = [
        FaultKind::KillWorker,
        FaultKind::KillWorkers,
        FaultKind::DrainWorker,
        FaultKind::SuspendWorker,
    ];
    survived(schedule(3, &kinds), shared()).await;
}

/// Each for longer than its connections live.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_and_workers_suspended_longer_than_their_heartbeats_lose_no_element() {
    let mut schedule = schedule(4, &[FaultKind::SuspendLeader, FaultKind::SuspendWorker]);
    for (_, fault) in &mut schedule.faults {
        fault.length = Duration::from_secs(4 * crate::HEARTBEAT);
    }
    survived(schedule, shared()).await;
}

/// Longer than heartbeats, leases, what a worker or leader may be silent, what a confirm may take: than
/// all that does not count in half hours.
fn hangs(seed: u64, kind: FaultKind, party: Party) -> Schedule {
    let fault = Fault { kind, party, length: Duration::from_secs(75) };
    Schedule { faults: vec![(Duration::from_secs(3), fault)], ..schedule(seed, &[]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_leader_suspended_longer_than_every_timeout_loses_no_element() {
    survived(hangs(24, FaultKind::SuspendLeader, Party::Leader), shared()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_worker_suspended_longer_than_every_timeout_loses_no_element() {
    survived(hangs(25, FaultKind::SuspendWorker, Party::Worker(0)), shared()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_broker_suspended_longer_than_every_timeout_loses_no_element() {
    survived(hangs(26, FaultKind::SuspendBroker, Party::Leader), Place::Own).await;
}
