//! Exchanges whose blocks go through the queues of RabbitMQ: faults, and what is left behind.

use std::time::{Duration, Instant};

use lapin::options::{ExchangeDeleteOptions, QueueDeclareOptions};
use phalanx::{Error, Job, Progress, Results, Runtime, error::ShuffleFailure, prelude::*};
use phalanx_core::{
    codec,
    gather::{hash, partition_of},
};
use phalanx_fleet_tests::*;
use phalanx_test_node::NodeOptions;
use phalanx_test_proxy::{Proxy, Traffic};
use phalanx_test_support::soon;

use crate::support::{
    Fleet, MortalLeader, Rendezvous, expire_soon, expired, start_node, with_node,
};

const PARTITIONS: u32 = 4;
/// Their blocks have 40 MB: far more than a leader holds of one exchange.
const NUMBERS: u64 = 400;
/// The element that is held: its task is the last one.
const HELD: u64 = NUMBERS - 1;
/// No element.
const NONE: u64 = u64::MAX;

/// Groups heavy values by their numbers, and holds two elements: one that feeds the exchange, and
/// a key that is read from it.
fn start(runtime: &Runtime, held: &Rendezvous, feeding: u64, reading: u64) -> (Job, Results<u64>) {
    let hold = |at| HoldAt { directory: held.directory(), at };
    let groups = IndexedStream::from(0..NUMBERS).map(hold(feeding)).map(Heavy).group_by_key();
    groups.partitions(PARTITIONS).map(WeighAll).map(hold(reading)).start(runtime).unwrap()
}

/// Waits until the blocks of a job go through queues.
async fn spread(job: &Job) {
    let mut progress = job.progress();
    let is_spread = async {
        progress.wait_for(|progress| progress.exchanges.iter().any(|it| it.queues > 0)).await
    };
    soon("an exchange to be spread", is_spread).await.unwrap();
}

/// Waits for the keys: all of them, once each.
async fn assert_all(results: Results<u64>) {
    let keys = soon("the keys", results.collect()).await.unwrap();
    let mut keys: Vec<u64> = keys.into_iter().map(|(_, key)| key).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..NUMBERS).collect::<Vec<_>>());
}

fn queue(fleet: &Fleet, job: &Job, partition: u32) -> String {
    format!("{}.shuffle.{}.0.{partition}", fleet.namespace, job.id())
}

/// The partitions of a job whose queues exist.
async fn queues(fleet: &Fleet, job: &Job) -> Vec<u32> {
    let (mut left, connection) = (Vec::new(), fleet.raw().await);
    for partition in 0..PARTITIONS {
        let channel = connection.create_channel().await.unwrap();
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let name = queue(fleet, job, partition);
        if channel.queue_declare(name.as_str().into(), passive, Default::default()).await.is_ok() {
            left.push(partition);
        }
    }
    left
}

fn failure(result: Result<Vec<(u64, u64)>, Error>) -> ShuffleFailure {
    match result {
        Err(Error::Shuffle(error)) => error.failure.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_queue_is_left_when_a_job_is_over() {
    let (fleet, workers) = Fleet::with_workers(2).await;
    let runtime = fleet.lead().await;
    for (feeding, reading) in [(HELD, NONE), (NONE, HELD)] {
        let held = Rendezvous::new();
        let (job, results) = start(&runtime, &held, feeding, reading);
        spread(&job).await;
        held.started(1).await;
        assert!(!queues(&fleet, &job).await.is_empty());
        job.cancel();
        let cancelled = soon("the end", results.collect()).await;
        assert!(matches!(cancelled, Err(Error::Cancelled { .. })), "{cancelled:?}");
        assert!(queues(&fleet, &job).await.is_empty(), "after a cancel");
        held.release();
    }
    let (job, results) = start(&runtime, &Rendezvous::new(), NONE, NONE);
    assert_all(results).await;
    assert!(queues(&fleet, &job).await.is_empty(), "after success");
    assert!(job.progress().borrow().exchanges[0].queues == PARTITIONS);
    let groups = IndexedStream::from(0..NUMBERS).map(Heavy).group_by_key().partitions(PARTITIONS);
    let (job, results) = groups.map(WeighAll).take(1).start(&runtime).unwrap();
    assert_eq!(soon("one key", results.collect()).await.unwrap().len(), 1);
    assert!(queues(&fleet, &job).await.is_empty(), "after `take`");
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn workers_that_die_while_they_write_and_read_queues_cost_no_row() {
    for (feeding, reading) in [(HELD, NONE), (NONE, HELD)] {
        let (fleet, mut workers) = Fleet::with_workers(2).await;
        let runtime = fleet.lead().await;
        let held = Rendezvous::new();
        let (job, results) = start(&runtime, &held, feeding, reading);
        spread(&job).await;
        held.started(1).await;
        fleet.kill_and_replace(&mut workers).await;
        held.release();
        assert_all(results).await;
        assert!(queues(&fleet, &job).await.is_empty());
        runtime.close().await;
        fleet.end(workers).await;
    }
}

#[tokio::test]
async fn a_queue_that_is_deleted_ends_its_job_and_never_gives_a_wrong_result() {
    for (feeding, reading) in [(HELD, NONE), (NONE, HELD)] {
        let (fleet, workers) = Fleet::with_workers(2).await;
        let runtime = fleet.lead().await;
        let held = Rendezvous::new();
        let (job, results) = start(&runtime, &held, feeding, reading);
        spread(&job).await;
        held.started(1).await;
        // That of the key that is held, because the others may be settled: those are not missed.
        let key = codec::encode(&HELD).unwrap();
        let partition = partition_of(hash(&key), PARTITIONS);
        fleet.delete_queue(&queue(&fleet, &job, partition)).await;
        let failure = failure(soon("the end", results.collect()).await);
        assert!(
            matches!(failure, ShuffleFailure::BlocksLost { partition: lost, .. } if lost == partition),
            "{failure:?}"
        );
        assert!(queues(&fleet, &job).await.is_empty());
        held.release();
        runtime.close().await;
        fleet.end(workers).await;
    }
}

#[tokio::test]
async fn the_exchange_of_blocks_may_be_deleted_while_they_are_written() {
    let (fleet, workers) = Fleet::with_workers(2).await;
    let runtime = fleet.lead().await;
    let held = Rendezvous::new();
    let (job, results) = start(&runtime, &held, HELD, NONE);
    spread(&job).await;
    held.started(1).await;
    let channel = fleet.raw().await.create_channel().await.unwrap();
    let exchange = format!("{}.shuffle", fleet.namespace);
    channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.unwrap();
    held.release();
    assert_all(results).await;
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_job_that_shuffles_more_than_the_limit_ends_with_the_sizes() {
    let (fleet, workers) = Fleet::with_workers(2).await;
    let runtime =
        soon("a leader", fleet.builder().shuffle_limit(20 << 20).connect()).await.unwrap();
    let (job, results) = start(&runtime, &Rendezvous::new(), NONE, NONE);
    let failure = failure(soon("the end", results.collect()).await);
    let ShuffleFailure::LimitExceeded { bytes, limit } = failure else { panic!("{failure:?}") };
    assert!(limit == 20 << 20 && bytes > limit, "{bytes}");
    assert!(queues(&fleet, &job).await.is_empty());
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_broker_that_restarts_while_blocks_are_written_and_while_they_are_read_costs_no_row() {
    let node = start_node(NodeOptions::new()).await;
    let fleet = Fleet::at(node.url());
    let workers = fleet.workers(2).await;
    let runtime = fleet.lead().await;
    let held = Rendezvous::new();
    let (job, results) = start(&runtime, &held, HELD, HELD);
    spread(&job).await;
    let (node, ()) = with_node(node, |node| node.restart().unwrap()).await;
    held.started(1).await;
    let (_node, ()) = with_node(node, |node| node.restart().unwrap()).await;
    held.release();
    assert_all(results).await;
    runtime.close().await;
    fleet.end(workers).await;
}

/// Policies that an operator should keep away from the queues: their blocks are gone without a word.
#[tokio::test]
async fn a_policy_that_lets_queues_expire_ends_a_job_with_what_is_lost() {
    let failure = under_policy(r#"{"expires":1000}"#, HeldUntil::End).await;
    assert!(matches!(failure, ShuffleFailure::BlocksLost { found: 0, .. }), "{failure:?}");
}

#[tokio::test]
#[ignore = "waits for blocks for longer than a minute"]
async fn a_policy_that_drops_blocks_for_longer_than_every_timeout_ends_a_job_with_what_is_lost() {
    let failure = under_policy(r#"{"max-length":1}"#, HeldUntil::Policy).await;
    let ShuffleFailure::BlocksLost { announced, found, .. } = failure else {
        panic!("{failure:?}")
    };
    assert!(found < announced, "{found} of {announced}");
}

/// How long an element is held that feeds an exchange, so that the exchange is not read before.
#[derive(PartialEq)]
enum HeldUntil {
    /// Until a policy is set.
    Policy,
    /// Until the job has ended.
    End,
}

/// What has failed after a policy was set for the queues of a job while they were written.
async fn under_policy(definition: &'static str, until: HeldUntil) -> ShuffleFailure {
    let node = start_node(NodeOptions::new()).await;
    let fleet = Fleet::at(node.url());
    let workers = fleet.workers(2).await;
    let runtime = fleet.lead().await;
    let held = Rendezvous::new();
    let (job, results) = start(&runtime, &held, HELD, NONE);
    spread(&job).await;
    held.started(1).await;
    let mut progress = job.progress();
    let has_many = |progress: &Progress| progress.exchanges[0].rows >= NUMBERS / 2;
    soon("blocks", progress.wait_for(has_many)).await.unwrap();
    let policy = ["set_policy", "--apply-to", "queues", "blocks", r".*\.shuffle\..*", definition];
    let (_node, ()) = with_node(node, move |node| node.control(&policy).unwrap()).await;
    if until == HeldUntil::Policy {
        held.release();
    }
    let end = tokio::time::timeout(Duration::from_secs(300), results.collect()).await;
    let failure = failure(end.expect("the job hangs"));
    held.release();
    assert!(queues(&fleet, &job).await.is_empty());
    runtime.close().await;
    fleet.end(workers).await;
    failure
}

#[tokio::test]
#[ignore = "moves 800 MB"]
async fn a_broker_with_less_memory_than_is_shuffled_ends_the_job_with_all_rows() {
    const NUMBERS: u64 = 8_000;
    let options = NodeOptions::new().config("vm_memory_high_watermark.absolute = 320MB");
    let node = start_node(options).await;
    let fleet = Fleet::at(node.url());
    let workers = fleet.workers(2).await;
    let runtime = fleet.lead().await;
    let groups = IndexedStream::from(0..NUMBERS).map(Heavy).group_by_key();
    let (job, results) = groups.map(WeighAll).start(&runtime).unwrap();
    let keys = tokio::time::timeout(Duration::from_secs(600), results.collect());
    let mut keys: Vec<u64> =
        keys.await.expect("the job hangs").unwrap().into_iter().map(|(_, key)| key).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..NUMBERS).collect::<Vec<_>>());
    assert!(job.progress().borrow().exchanges[0].queues > 0);
    runtime.close().await;
    fleet.end(workers).await;
}

/// A worker reads a partition for longer than the broker waits for acks. Before RabbitMQ 4.3 the
/// broker takes the blocks back, but what it had sent arrives first.
#[tokio::test]
async fn a_link_too_slow_for_the_acknowledgement_timeout_costs_no_row() {
    let options = NodeOptions::new()
        .config("consumer_timeout = 10000")
        .advanced("{channel_tick_interval, 500}");
    let node = start_node(options).await;
    let fleet = Fleet::at(node.url());
    let proxy = Proxy::to(&fleet.url).await.unwrap();
    let behind = Fleet { url: proxy.url(), namespace: fleet.namespace.clone() };
    let mut worker = behind.worker(&["--hold", "600ms"]);
    worker.started().await;
    let runtime = fleet.lead().await;
    let held = Rendezvous::new();
    let hold = HoldAt { directory: held.directory(), at: HELD };
    let groups = IndexedStream::from(0..NUMBERS).map(hold).map(Heavy).group_by_key();
    let (job, results) = groups.partitions(1).map(WeighAll).start(&runtime).unwrap();
    let mut progress = job.progress();
    let is_written = |it: &Progress| it.exchanges.iter().any(|it| it.rows >= NUMBERS * 3 / 4);
    soon("most blocks", progress.wait_for(is_written)).await.unwrap();
    // 2.6 MB a second at most, of the 40 that the partition has. The broker has ten seconds to send
    // all of them.
    proxy.set(Traffic::Delay(Duration::from_millis(25)));
    held.release();
    let begun = Instant::now();
    assert_all(results).await;
    assert!(begun.elapsed() > Duration::from_secs(10), "the link was not slow");
    runtime.close().await;
    fleet.end(vec![worker]).await;
}

/// The commands of `rabbitmqctl` that make a broker block all publishers, and let them go on.
struct Shortage {
    begin: &'static [&'static str],
    end: &'static [&'static str],
}

const NO_MEMORY: Shortage = Shortage {
    begin: &["set_vm_memory_high_watermark", "absolute", "1MB"],
    end: &["set_vm_memory_high_watermark", "0.4"],
};
const NO_DISK: Shortage = Shortage {
    begin: &["set_disk_free_limit", "1000000GB"],
    end: &["set_disk_free_limit", "50MB"],
};

#[tokio::test]
async fn a_broker_without_memory_is_freed_by_the_end_of_the_job() {
    stays_full(NO_MEMORY).await;
}

#[tokio::test]
#[ignore = "the broker blocks its publishers for longer than every timeout"]
async fn a_broker_whose_disk_is_full_for_longer_than_every_timeout_is_freed_by_the_end_of_the_job()
{
    stays_full(NO_DISK).await;
}

async fn stays_full(shortage: Shortage) {
    let node = start_node(NodeOptions::new()).await;
    let fleet = Fleet::at(node.url());
    let mut worker = fleet.worker(&[]);
    worker.started().await;
    let runtime = fleet.lead().await;
    let held = Rendezvous::new();
    let (job, results) = start(&runtime, &held, HELD, NONE);
    spread(&job).await;
    held.started(1).await;
    let (node, ()) = with_node(node, move |node| node.control(shortage.begin).unwrap()).await;
    let failure = failure(soon("the end", results.collect()).await);
    assert!(matches!(failure, ShuffleFailure::BrokerFull { .. }), "{failure:?}");
    // Nothing that is published arrives, but deletions do.
    assert!(queues(&fleet, &job).await.is_empty());
    let (_node, ()) = with_node(node, move |node| node.control(shortage.end).unwrap()).await;
    held.release();
    runtime.close().await;
    fleet.end(vec![worker]).await;
}

/// Neither the workers nor what they still do for the leader keep the queues.
#[tokio::test]
async fn the_queues_of_a_leader_that_dies_expire() {
    for (feeding, reading) in [(HELD, NONE), (NONE, HELD)] {
        let node = start_node(NodeOptions::new()).await;
        let fleet = Fleet::at(node.url());
        let workers = fleet.workers(2).await;
        let leader = MortalLeader::connect(fleet.builder()).await;
        let held = Rendezvous::new();
        let (job, _results) = leader.start(|runtime| start(runtime, &held, feeding, reading));
        spread(&job).await;
        held.started(1).await;
        assert!(!queues(&fleet, &job).await.is_empty());
        leader.die();
        let _node = expire_soon(node).await;
        held.release();
        expired(async || !queues(&fleet, &job).await.is_empty()).await;
        fleet.end(workers).await;
    }
}
