//! A broker that dies, restarts, hangs, takes no messages, and loses them.

use phalanx_chaos::{FaultKind, Place};

use crate::{schedule, shared, survived};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_or_restarted_broker_costs_no_element() {
    let kinds = [FaultKind::KillBroker, FaultKind::RestartBroker];
    survived(schedule(6, &kinds), Place::Own).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_or_blocks_publishers_costs_no_element() {
    let kinds = [FaultKind::SuspendBroker, FaultKind::Alarm];
    survived(schedule(7, &kinds), Place::Own).await;
}

/// With all tasks that were in it: they are found to be lost, and sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_task_queue_costs_no_element() {
    let kinds = [FaultKind::DeleteQueue, FaultKind::KillWorker];
    survived(schedule(9, &kinds), shared()).await;
}
