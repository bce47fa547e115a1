//! Processes that are killed, drained or suspended.

use std::time::Duration;

use phalanx_chaos::{Fault, FaultKind, FaultTarget, Schedule, TestBroker};

use crate::{assert_survived, schedule, shared};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_die_drain_and_hang_cost_no_element() {
    let kinds = [
        FaultKind::KillWorker,
        FaultKind::KillWorkers,
        FaultKind::DrainWorker,
        FaultKind::SuspendWorker,
    ];
    assert_survived(schedule(3, &kinds), shared()).await;
}

/// Each is suspended for longer than its connections survive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_and_workers_suspended_longer_than_their_heartbeats_lose_no_element() {
    let mut schedule = schedule(4, &[FaultKind::SuspendLeader, FaultKind::SuspendWorker]);
    for (_, fault) in &mut schedule.faults {
        fault.length = Duration::from_secs(4 * crate::HEARTBEAT);
    }
    assert_survived(schedule, shared()).await;
}

/// Suspends a process for longer than heartbeats, leases, the leader timeout and the timeout of a
/// confirm: longer than every timeout but those of half an hour.
fn suspension(seed: u64, kind: FaultKind, target: FaultTarget) -> Schedule {
    let fault = Fault { kind, target, length: Duration::from_secs(75) };
    Schedule { faults: vec![(Duration::from_secs(3), fault)], ..schedule(seed, &[]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_leader_suspended_longer_than_every_timeout_loses_no_element() {
    assert_survived(suspension(24, FaultKind::SuspendLeader, FaultTarget::Leader), shared()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_worker_suspended_longer_than_every_timeout_loses_no_element() {
    assert_survived(suspension(25, FaultKind::SuspendWorker, FaultTarget::Worker(0)), shared())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_broker_suspended_longer_than_every_timeout_loses_no_element() {
    assert_survived(
        suspension(26, FaultKind::SuspendBroker, FaultTarget::Leader),
        TestBroker::Node,
    )
    .await;
}
