//! A cluster of three nodes, each of which is lost, hangs, or is cut off from the others, while leader
//! and workers know all three.

use std::time::Duration;

use phalanx_chaos::{Fault, FaultKind, Party, Place, Schedule};

use crate::{schedule, survived};

/// Each node in turn: some clients are connected to it, and some queue is led by it.
fn of_each_node(seed: u64, kind: FaultKind) -> Schedule {
    let faults = (0..3).map(|node| {
        let (at, length) = (Duration::from_secs(4 + 22 * node), Duration::from_secs(12));
        (at, Fault { kind, party: Party::Node(node as usize), length })
    });
    Schedule { faults: faults.collect(), ..schedule(seed, &[]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker"]
async fn the_loss_of_any_cluster_node_costs_no_element() {
    survived(of_each_node(21, FaultKind::LoseNode), Place::Cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker"]
async fn a_hanging_cluster_node_costs_no_element() {
    survived(of_each_node(22, FaultKind::FreezeNode), Place::Cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker"]
async fn a_partitioned_cluster_node_costs_no_element() {
    survived(of_each_node(23, FaultKind::PartNode), Place::Cluster).await;
}
