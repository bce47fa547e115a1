//! Operations that run longer than the broker waits for an acknowledgement.

use std::time::Duration;

use phalanx::{Job, JobEvent, Results, Runtime, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_node::NodeOptions;

use rustix::process::Signal;

use crate::{fleet::Fleet, meeting::Meeting, node, places::assert_usable, soon};

/// What the broker waits for an acknowledgement, and how often it looks: far less than it is made
/// for.
const TIMEOUT: Duration = Duration::from_secs(2);
const LOOKS: Duration = Duration::from_millis(500);

fn impatient() -> NodeOptions {
    NodeOptions::new()
        .config(format!("consumer_timeout = {}", TIMEOUT.as_millis()))
        .advanced(format!("{{channel_tick_interval, {}}}", LOOKS.as_millis()))
}

#[tokio::test]
async fn an_operation_longer_than_the_acknowledgement_timeout_runs_once_and_nothing_waits_for_it() {
    let node = node::start(impatient()).await;
    let fleet = Fleet::at(node.url());
    let mut first = fleet.worker(&["--hold", "600ms"]);
    first.started().await;
    let (runtime, meeting) = (fleet.lead().await, Meeting::new());
    // One for each slot.
    let long = IndexedStream::from(0..2u64).map(Hold { directory: meeting.place() }).batch(1);
    let (_job, long) = long.ordered().start(&runtime).unwrap();
    meeting.said("started", 2).await;

    // Behind them, at the only worker there is; then there is another.
    let (_other, short) =
        IndexedStream::from(0..50u64).map(Triple).ordered().start(&runtime).unwrap();
    let mut second = fleet.worker(&["--hold", "600ms"]);
    second.started().await;
    let short: Vec<u64> =
        soon("the short ones", short.map_ok(|(_, value)| value).try_collect()).await.unwrap();
    assert_eq!(short, (0..50).map(|n| 3 * n).collect::<Vec<_>>());

    // The time is what is tried here: several times what the broker waits for.
    tokio::time::sleep(4 * TIMEOUT).await;
    assert_usable(&runtime).await;
    meeting.open();
    let long: Vec<u64> =
        soon("the long ones", long.map_ok(|(_, value)| value).try_collect()).await.unwrap();
    assert_eq!(long, [0, 3]);
    assert_eq!((meeting.runs(0), meeting.runs(1)), (1, 1));
    runtime.close().await;
    fleet.end(vec![first, second]).await;
}

/// A leader whose workers hold nothing for long, and one element that a worker has leased.
async fn leased(fleet: &Fleet, meeting: &Meeting) -> (Runtime, Job, Results<u64>) {
    let builder = fleet.builder().hold(Duration::from_secs(1));
    let runtime = soon("to connect", builder.connect()).await.unwrap();
    let held = IndexedStream::from(0..1u64).map(Hold { directory: meeting.place() });
    let (job, results) = held.start(&runtime).unwrap();
    let mut events = job.events();
    let leased =
        async { while !matches!(events.next().await.unwrap(), JobEvent::TaskLeased { .. }) {} };
    soon("a lease", leased).await;
    (runtime, job, results)
}

#[tokio::test]
async fn what_a_worker_had_leased_is_done_by_others_when_it_dies() {
    let fleet = Fleet::new();
    let mut worker = fleet.worker(&["--hold", "1s"]);
    worker.started().await;
    let meeting = Meeting::new();
    let (runtime, _job, results) = leased(&fleet, &meeting).await;
    worker.signal(Signal::KILL);
    worker.ended().await;
    let mut other = fleet.worker(&["--hold", "1s"]);
    other.started().await;
    meeting.ran(0, 2).await;
    meeting.open();
    let values: Vec<_> = soon("it", results.try_collect()).await.unwrap();
    assert_eq!(values, [(0, 0)]);
    runtime.close().await;
    fleet.end(vec![worker, other]).await;
}

/// It goes on as if nothing had been: what it answers counts, or what another did meanwhile.
#[tokio::test]
async fn what_a_worker_had_leased_counts_once_when_it_is_suspended_and_resumed() {
    let fleet = Fleet::new();
    let mut worker = fleet.worker(&["--hold", "1s"]);
    worker.started().await;
    let meeting = Meeting::new();
    let (runtime, job, results) = leased(&fleet, &meeting).await;
    let mut events = job.events();
    worker.signal(Signal::STOP);
    let given_up = async {
        while !matches!(events.next().await.unwrap(), JobEvent::TaskRepublished { .. }) {}
    };
    soon("to be given up", given_up).await;
    worker.signal(Signal::CONT);
    meeting.open();
    let values: Vec<_> = soon("it", results.try_collect()).await.unwrap();
    assert_eq!(values, [(0, 0)]);
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(vec![worker]).await;
}
