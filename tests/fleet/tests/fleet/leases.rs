//! Operations that run longer than the broker waits for an acknowledgement.

use std::time::Duration;

use phalanx::prelude::*;
use phalanx_fleet_tests::*;
use phalanx_test_node::NodeOptions;

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
