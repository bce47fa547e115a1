//! Processes that are killed, told to end, or hang.

use phalanx_chaos::FaultKind;

use crate::{schedule, shared, survived};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_come_and_go_and_hang_and_no_element_is_lost() {
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
async fn leader_and_workers_that_hang_longer_than_heartbeats_lose_nothing() {
    let mut schedule = schedule(4, &[FaultKind::SuspendLeader, FaultKind::SuspendWorker]);
    for (_, fault) in &mut schedule.faults {
        fault.length = std::time::Duration::from_secs(4 * crate::HEARTBEAT);
    }
    survived(schedule, shared()).await;
}
