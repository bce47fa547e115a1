//! A broker that is killed, restarted or suspended, blocks publishers or loses a queue.

use phalanx_chaos::{FaultKind, TestBroker};

use crate::{assert_survived, schedule, shared};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_or_restarted_broker_costs_no_element() {
    let kinds = [FaultKind::KillBroker, FaultKind::RestartBroker];
    assert_survived(schedule(6, &kinds), TestBroker::Node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_or_blocks_publishers_costs_no_element() {
    let kinds = [FaultKind::SuspendBroker, FaultKind::Alarm];
    assert_survived(schedule(7, &kinds), TestBroker::Node).await;
}

/// The leader detects that the tasks in the queue are lost, and reissues them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_task_queue_costs_no_element() {
    let kinds = [FaultKind::DeleteQueue, FaultKind::KillWorker];
    assert_survived(schedule(9, &kinds), shared()).await;
}
