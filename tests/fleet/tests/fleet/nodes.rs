//! Clusters that lose the node with the queues of an exchange.

use std::{sync::Arc, time::Duration};

use phalanx::{Job, JobEvent, Results, Runtime, Stall, error::ShuffleFailure, prelude::*};
use phalanx_core::{
    codec,
    gather::{hash, partition_of},
};
use phalanx_fleet_tests::*;
use phalanx_test_node::Cluster;
use phalanx_test_proxy::Proxy;
use phalanx_test_support::soon;

use crate::support::{Fleet, Process, Rendezvous};

const PARTITIONS: u32 = 4;
/// Their blocks have 40 MB: far more than a leader holds of one exchange.
const NUMBERS: u64 = 400;

/// What is under way when the node is lost.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// The last task that writes blocks.
    Writing,
    /// The first of the tasks that read them.
    Reading,
}

/// A job, and a cluster whose first node has its queues, and nothing else that it needs: the leader
/// was connected to it, and the worker never is.
struct JobOnCluster {
    cluster: Arc<Cluster>,
    fleet: Fleet,
    worker: Process,
    runtime: Runtime,
    held: Rendezvous,
    job: Job,
    results: Results<u64>,
    /// What the leader reaches the nodes through.
    _proxies: [Proxy; 2],
}

impl JobOnCluster {
    /// Starts a job, holds it in `phase`, and kills the node.
    async fn during(phase: Phase) -> Self {
        let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap().unwrap();
        let hosts = [cluster.address(1), cluster.address(2)];
        let fleet = Fleet::at(format!("amqp://guest:guest@{},{}/%2f", hosts[0], hosts[1]));
        // There is room for what one of the reading tasks gathers: the others have not begun to
        // gather while that one is held.
        let mut worker = fleet.worker(&["--slots", "1", "--gather-memory", "14MiB"]);
        worker.started().await;
        let proxy = async |node| {
            let url = format!("amqp://guest:guest@{}/%2f", cluster.address(node));
            Proxy::to(&url).await.unwrap()
        };
        let (first, second) = (proxy(0).await, proxy(1).await);
        // A queue is on the node where it was declared.
        second.refuse(true);
        let url = format!("amqp://guest:guest@{},{}/%2f", first.address(), second.address());
        let leader = fleet.builder().url(url).stall_after(Duration::from_secs(1));
        let runtime = soon("the connection", leader.connect()).await.unwrap();

        let held = Rendezvous::new();
        let hold = |at| HoldAt { directory: held.directory(), at };
        let is_in_first =
            |key: &u64| partition_of(hash(&codec::encode(key).unwrap()), PARTITIONS) == 0;
        let in_first = (0..NUMBERS).find(is_in_first).unwrap();
        let (feeding, reading) = match phase {
            Phase::Writing => (NUMBERS - 1, u64::MAX),
            Phase::Reading => (u64::MAX, in_first),
        };
        let numbers = IndexedStream::from(0..NUMBERS).map(hold(feeding)).map(Heavy);
        let keys = numbers.group_by_key().partitions(PARTITIONS).map(WeighAll).map(hold(reading));
        let (job, results) = keys.start(&runtime).unwrap();
        let mut progress = job.progress();
        let is_spread = progress.wait_for(|it| it.exchanges.iter().any(|it| it.queues > 0));
        soon("an exchange to be spread", is_spread).await.unwrap();
        held.started(1).await;
        second.refuse(false);

        let lost = Self {
            cluster: Arc::new(cluster),
            fleet,
            worker,
            runtime,
            held,
            job,
            results,
            _proxies: [first, second],
        };
        let mut events = lost.job.events();
        lost.on_cluster(|cluster| cluster.kill(0).unwrap()).await;
        lost.held.release();
        let is_down = |event| matches!(event, JobEvent::Stalled(Stall::PartitionDown { .. }));
        let stalled = async { while !is_down(events.next().await.expect("the job is running")) {} };
        soon("a stall that names a partition", stalled).await;
        lost
    }

    async fn on_cluster(&self, work: impl FnOnce(&Cluster) + Send + 'static) {
        let cluster = Arc::clone(&self.cluster);
        tokio::task::spawn_blocking(move || work(&cluster)).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_node_that_is_lost_while_its_queues_are_written_and_read_costs_no_row() {
    for phase in [Phase::Writing, Phase::Reading] {
        let lost = JobOnCluster::during(phase).await;
        lost.on_cluster(|cluster| cluster.revive(0).unwrap()).await;
        let keys = soon("the keys", lost.results.collect()).await.unwrap();
        let mut keys: Vec<u64> = keys.into_iter().map(|(_, key)| key).collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..NUMBERS).collect::<Vec<_>>());
        lost.runtime.close().await;
        lost.fleet.end(vec![lost.worker]).await;
    }
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_node_that_is_removed_from_its_cluster_ends_the_job_with_what_is_lost() {
    let lost = JobOnCluster::during(Phase::Reading).await;
    let forget = ["forget_cluster_node", "rabbit@n1"];
    lost.on_cluster(move |cluster| cluster.control(1, &forget).unwrap()).await;
    let Err(phalanx::Error::Shuffle(error)) = soon("the end", lost.results.collect()).await else {
        panic!("the job has a result without its blocks")
    };
    assert!(matches!(error.failure, ShuffleFailure::BlocksLost { .. }), "{error}");
    lost.runtime.close().await;
    lost.fleet.end(vec![lost.worker]).await;
}
