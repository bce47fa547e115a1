//! Brokers that die, restart, cut connections and lose queues.

use std::time::Duration;

use phalanx::{JobEvent, Stall, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_node::{NodeOptions, PrivateNode};
use phalanx_test_proxy::Proxy;
use tokio::time::Instant;

use crate::{fleet::Fleet, meeting::Meeting, node, places::assert_usable, soon};

/// A broker that is killed sooner after the declaration of a quorum queue may lose the queue: it
/// syncs its own tables that late.
const QUEUE_IS_SAFE: Duration = Duration::from_secs(5);

/// Leader and workers come back by themselves, with all that they had.
#[tokio::test]
async fn a_job_survives_the_death_and_the_restart_of_its_broker() {
    let mut node = node::start(NodeOptions::new()).await;
    let fleet = Fleet::at(node.url());
    let mut workers = vec![fleet.worker(&[]), fleet.worker(&[])];
    for worker in &mut workers {
        worker.started().await;
    }
    let runtime = fleet.lead().await;
    assert_usable(&runtime).await;
    let safe = Instant::now() + QUEUE_IS_SAFE;

    for kill in [true, false] {
        // Its input goes on through all of it, and so do its results.
        let numbers = IndexedStream::from(0..).map(TripleLater).ordered();
        let (endless_job, mut endless) = numbers.start(&runtime).unwrap();
        soon("a result", endless.next()).await.unwrap().unwrap();
        let meeting = Meeting::new();
        let held = IndexedStream::from(0..30u64).map(Hold { directory: meeting.place() });
        let (_job, held) = held.batch(1).ordered().start(&runtime).unwrap();
        // Both slots of one worker at least: it may hold what the other would have taken.
        meeting.said("started", 2).await;
        tokio::time::sleep_until(safe).await;
        let restart = move |node: &mut PrivateNode| {
            if kill {
                node.kill().unwrap();
            }
            node.restart().unwrap();
        };
        (node, ()) = node::with(node, restart).await;
        meeting.open();
        let held: Vec<u64> =
            soon("what was held", held.map_ok(|(_, value)| value).try_collect()).await.unwrap();
        assert_eq!(held, (0..30).map(|n| 3 * n).collect::<Vec<_>>());
        // Far more than could have been in flight before.
        for index in 1..50_000 {
            let item = soon("the next", endless.next()).await.unwrap().unwrap();
            assert_eq!(item, (index, 3 * index));
        }
        endless_job.cancel();
        assert_usable(&runtime).await;
    }
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn connections_that_are_cut_cost_no_element() {
    const COUNT: u64 = 6_000;
    let mut fleet = Fleet::new();
    let proxy = Proxy::to(&fleet.url).await.unwrap();
    fleet.url = proxy.url();
    let mut workers = vec![fleet.worker(&[]), fleet.worker(&[])];
    for worker in &mut workers {
        worker.started().await;
    }
    let runtime = fleet.lead().await;
    let words = IndexedStream::from(0..COUNT).map(Dawdle { micros: 300 }).map(Word);
    let (job, folded) = words.fold(Concatenate).start(&runtime).unwrap();
    let mut progress = job.progress();
    for done in [100, 1_500, 3_000] {
        soon("progress", progress.wait_for(|progress| progress.done >= done)).await.unwrap();
        proxy.cut();
    }
    let expected: String = (0..COUNT).map(|n| format!("{},", 3 * n)).collect();
    assert!(soon("the words", folded).await.unwrap() == expected, "words were lost or moved");
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(workers).await;
}

/// The broker lost tasks that it had confirmed: their job finds out, and sends them again.
#[tokio::test]
async fn what_was_in_a_deleted_task_queue_is_missed_and_sent_again() {
    let fleet = Fleet::new();
    let hold = Duration::from_secs(2);
    let impatient = fleet.builder().stall_after(Duration::from_secs(1)).hold(hold);
    let runtime = soon("to connect", impatient.connect()).await.unwrap();
    let numbers = IndexedStream::from(0..50u64).map(Triple).ordered();
    let (job, results) = numbers.start(&runtime).unwrap();
    let mut progress = job.progress();
    soon("tasks", progress.wait_for(|progress| progress.tasks_out > 0)).await.unwrap();
    let mut events = job.events();
    let mut stalled = async |wanted: fn(&Stall) -> bool| loop {
        match events.next().await.expect("it is not over") {
            JobEvent::Stalled(stall) if wanted(&stall) => return stall.to_string(),
            _ => {}
        }
    };
    // So all that it has sent is in the queue.
    soon("a stall", stalled(|stall| matches!(stall, Stall::NoWorkers { .. }))).await;
    let channel = fleet.raw().await.create_channel().await.unwrap();
    let deleted =
        channel.queue_delete(fleet.task_queue().into(), Default::default()).await.unwrap();
    assert!(deleted > 0);

    let mut worker = fleet.worker(&["--hold", "2s"]);
    worker.started().await;
    let missing = stalled(|stall| matches!(stall, Stall::Missing { .. }));
    let text = soon("a stall", missing).await;
    assert!(text.contains("pool `default`") && text.contains("the broker lost them"), "{text}");
    // All credit is with what is lost; each job has one task out all the same.
    assert_usable(&runtime).await;
    let values: Vec<u64> =
        soon("all", results.map_ok(|(_, value)| value).try_collect()).await.unwrap();
    assert_eq!(values, (0..50).map(|n| 3 * n).collect::<Vec<_>>());

    // Deleted under a worker: it makes a new one and goes on.
    let channel = fleet.raw().await.create_channel().await.unwrap();
    channel.queue_delete(fleet.task_queue().into(), Default::default()).await.unwrap();
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(vec![worker]).await;
}

/// As it has when its leader hung, or was out of reach, for longer than the queue lives.
#[tokio::test]
async fn a_leader_whose_reply_queue_has_expired_makes_it_again_and_misses_nothing() {
    let hold = Duration::from_secs(2);
    let (fleet, proxy, runtime) =
        Fleet::with_leader_behind_a_proxy(|builder| builder.hold(hold)).await;
    let mut worker = fleet.worker(&["--hold", "2s"]);
    worker.started().await;
    let meeting = Meeting::new();
    let held = IndexedStream::from(0..2u64).map(Hold { directory: meeting.place() }).batch(1);
    let (_job, results) = held.ordered().start(&runtime).unwrap();
    meeting.said("started", 2).await;

    proxy.refuse(true);
    proxy.cut();
    let replies = format!("{}.reply.{}", fleet.namespace, runtime.leader());
    let channel = fleet.raw().await.create_channel().await.unwrap();
    channel.queue_delete(replies.into(), Default::default()).await.unwrap();
    // All is done while nobody can be told of it.
    meeting.open();
    fleet.emptied(&fleet.task_queue()).await;
    proxy.refuse(false);

    let values: Vec<u64> =
        soon("all", results.map_ok(|(_, value)| value).try_collect()).await.unwrap();
    assert_eq!(values, [0, 3]);
    assert_eq!((meeting.runs(0), meeting.runs(1)), (2, 2), "the first results were lost");
    runtime.close().await;
    fleet.end(vec![worker]).await;
}
