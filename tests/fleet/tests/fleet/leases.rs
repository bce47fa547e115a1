//! Operations that run longer than the broker waits for an acknowledgement.

use std::time::Duration;

use futures::TryStreamExt;
use phalanx::{Job, JobEvent, Results, Runtime, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_node::NodeOptions;
use phalanx_test_support::soon;
use rustix::process::Signal;

use crate::support::{Fleet, Rendezvous, assert_usable, start_node};

/// The broker's acknowledgement timeout, and how often the broker checks it. Its defaults are half
/// an hour and a minute. Workers hold deliveries for far less, so that a busy machine does not
/// delay a lease for as long as the timeout.
const TIMEOUT: Duration = Duration::from_secs(4);
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

fn short_timeout() -> NodeOptions {
    NodeOptions::new()
        .config(format!("consumer_timeout = {}", TIMEOUT.as_millis()))
        .advanced(format!("{{channel_tick_interval, {}}}", CHECK_INTERVAL.as_millis()))
}

#[tokio::test]
async fn an_operation_longer_than_the_acknowledgement_timeout_runs_once_and_blocks_no_other() {
    let node = start_node(short_timeout()).await;
    let fleet = Fleet::at(node.url());
    let mut first = fleet.worker(&["--hold", "600ms"]);
    first.started().await;
    let (runtime, rendezvous) = (fleet.lead().await, Rendezvous::new());
    // One for each slot.
    let (_job, long) = rendezvous.hold(&runtime, 2);
    rendezvous.started(2).await;

    // These are queued after them, at the only worker; then a second worker starts.
    let (_other, short) =
        IndexedStream::from(0..50u64).map(Triple).ordered().start(&runtime).unwrap();
    let mut second = fleet.worker(&["--hold", "600ms"]);
    second.started().await;
    let short: Vec<u64> =
        soon("the short elements", short.map_ok(|(_, value)| value).try_collect()).await.unwrap();
    assert_eq!(short, (0..50).map(|n| 3 * n).collect::<Vec<_>>());

    // Sleeps instead of waiting for a condition, because the operations must outlast the timeout
    // several times.
    tokio::time::sleep(3 * TIMEOUT).await;
    assert_usable(&runtime).await;
    rendezvous.release();
    let long: Vec<u64> =
        soon("the long elements", long.map_ok(|(_, value)| value).try_collect()).await.unwrap();
    assert_eq!(long, [0, 3]);
    assert_eq!((rendezvous.runs(0), rendezvous.runs(1)), (1, 1));
    runtime.close().await;
    fleet.end(vec![first, second]).await;
}

/// A leader with a short hold, and a job of one element that a worker has leased.
async fn leased(fleet: &Fleet, rendezvous: &Rendezvous) -> (Runtime, Job, Results<u64>) {
    let builder = fleet.builder().hold(Duration::from_secs(1));
    let runtime = soon("the connection", builder.connect()).await.unwrap();
    let (job, results) = rendezvous.hold(&runtime, 1);
    let mut events = job.events();
    let leased =
        async { while !matches!(events.next().await.unwrap(), JobEvent::TaskLeased { .. }) {} };
    soon("a lease", leased).await;
    (runtime, job, results)
}

#[tokio::test]
async fn a_leased_task_is_reissued_when_its_worker_dies() {
    let fleet = Fleet::new();
    let mut worker = fleet.worker(&["--hold", "1s"]);
    worker.started().await;
    let rendezvous = Rendezvous::new();
    let (runtime, _job, results) = leased(&fleet, &rendezvous).await;
    worker.signal(Signal::KILL);
    worker.ended().await;
    let mut other = fleet.worker(&["--hold", "1s"]);
    other.started().await;
    rendezvous.ran(0, 2).await;
    rendezvous.release();
    let values: Vec<_> = soon("the result", results.collect()).await.unwrap();
    assert_eq!(values, [(0, 0)]);
    runtime.close().await;
    fleet.end(vec![worker, other]).await;
}

/// After it resumes, the worker sends its result; that one counts, or the one of the reissued copy.
#[tokio::test]
async fn a_leased_task_counts_once_when_its_worker_is_suspended_and_resumed() {
    let fleet = Fleet::new();
    let mut worker = fleet.worker(&["--hold", "1s"]);
    worker.started().await;
    let rendezvous = Rendezvous::new();
    let (runtime, job, results) = leased(&fleet, &rendezvous).await;
    let mut events = job.events();
    worker.signal(Signal::STOP);
    let reissued =
        async { while !matches!(events.next().await.unwrap(), JobEvent::TaskReissued { .. }) {} };
    soon("the task to be reissued", reissued).await;
    worker.signal(Signal::CONT);
    rendezvous.release();
    let values: Vec<_> = soon("the result", results.collect()).await.unwrap();
    assert_eq!(values, [(0, 0)]);
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(vec![worker]).await;
}
