//! Faults around jobs whose blocks and outputs go through queues of the broker.

use std::time::Duration;

use phalanx_chaos::{FaultKind, TestBroker};

use crate::{HEARTBEAT, assert_jobs_survived, schedule, shared};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_are_suspended_or_die_beside_queues_of_blocks_cost_no_row() {
    let kinds = [FaultKind::SuspendLeader, FaultKind::KillWorkers, FaultKind::SuspendWorker];
    let mut schedule = schedule(30, &kinds);
    for (_, fault) in &mut schedule.faults {
        if fault.kind != FaultKind::KillWorkers {
            fault.length = Duration::from_secs(4 * HEARTBEAT);
        }
    }
    assert_jobs_survived(schedule, shared(), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_or_restarted_under_queues_of_blocks_costs_no_row() {
    let kinds = [FaultKind::KillBroker, FaultKind::RestartBroker, FaultKind::Alarm];
    assert_jobs_survived(schedule(31, &kinds), TestBroker::Node, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_cuts_and_stalls_beside_queues_of_blocks_costs_no_row() {
    let kinds = [FaultKind::Cut, FaultKind::Stall, FaultKind::Discard, FaultKind::Delay];
    assert_jobs_survived(schedule(32, &kinds), shared(), true).await;
}
