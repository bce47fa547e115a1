//! A cluster of three nodes, each of which is killed, frozen or partitioned. The URL of leader and
//! workers lists all three.

use std::time::Duration;

use phalanx_chaos::{Fault, FaultKind, FaultTarget, Schedule, TestBroker};

use crate::{assert_jobs_survived, assert_survived, schedule};

/// Injects the fault into each node in turn: clients are connected to every node, and each leads
/// some of the queues.
fn of_each_node(seed: u64, kind: FaultKind) -> Schedule {
    let faults = (0..3).map(|node| {
        let (at, length) = (Duration::from_secs(4 + 22 * node), Duration::from_secs(12));
        (at, Fault { kind, target: FaultTarget::Node(node as usize), length })
    });
    Schedule { faults: faults.collect(), ..schedule(seed, &[]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker"]
async fn the_loss_of_any_cluster_node_costs_no_element() {
    assert_survived(of_each_node(21, FaultKind::KillNode), TestBroker::Cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker"]
async fn the_loss_of_any_cluster_node_beside_queues_of_blocks_costs_no_row() {
    let schedule = of_each_node(24, FaultKind::KillNode);
    assert_jobs_survived(schedule, TestBroker::Cluster, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker"]
async fn a_hanging_cluster_node_costs_no_element() {
    assert_survived(of_each_node(22, FaultKind::FreezeNode), TestBroker::Cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker"]
async fn a_partitioned_cluster_node_costs_no_element() {
    assert_survived(of_each_node(23, FaultKind::PartitionNode), TestBroker::Cluster).await;
}
