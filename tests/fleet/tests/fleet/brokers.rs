//! Brokers that are killed, restart, cut connections and lose queues.

use std::time::Duration;

use futures::TryStreamExt;
use phalanx::{JobEvent, Stall, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_node::{NodeOptions, Permissions, PrivateNode};
use phalanx_test_proxy::Proxy;
use phalanx_test_support::soon;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::support::{Fleet, Rendezvous, assert_usable, start_node, with_node};

/// A broker that is killed sooner after a quorum queue was declared can lose the queue, because it
/// writes its own tables to disk only every few seconds.
const QUEUE_IS_SAFE: Duration = Duration::from_secs(5);

/// Leader and workers reconnect by themselves, and the job continues.
#[tokio::test]
async fn a_job_survives_a_kill_and_a_restart_of_the_broker() {
    let mut node = start_node(NodeOptions::new()).await;
    let fleet = Fleet::at(node.url());
    let workers = fleet.workers(2).await;
    let runtime = fleet.lead().await;
    assert_usable(&runtime).await;
    let safe = Instant::now() + QUEUE_IS_SAFE;

    for kill in [true, false] {
        // This job continuously reads input and yields results.
        let numbers = IndexedStream::from(0..).map(TripleLater).ordered();
        let (endless_job, mut endless) = numbers.start(&runtime).unwrap();
        soon("a result", endless.next()).await.unwrap().unwrap();
        let rendezvous = Rendezvous::new();
        let (_job, held) = rendezvous.hold(&runtime, 30);
        // Two tasks fill one worker, which may also have prefetched the tasks of the other.
        rendezvous.started(2).await;
        tokio::time::sleep_until(safe).await;
        let restart = move |node: &mut PrivateNode| {
            if kill {
                node.kill().unwrap();
            }
            node.restart().unwrap();
        };
        (node, ()) = with_node(node, restart).await;
        rendezvous.release();
        let held: Vec<u64> =
            soon("the held elements", held.map_ok(|(_, value)| value).try_collect()).await.unwrap();
        assert_eq!(held, (0..30).map(|n| 3 * n).collect::<Vec<_>>());
        // Far more results than can have been in flight before the restart.
        for index in 1..50_000 {
            let item = soon("the next result", endless.next()).await.unwrap().unwrap();
            assert_eq!(item, (index, 3 * index));
        }
        endless_job.cancel();
        assert_usable(&runtime).await;
    }
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn cut_connections_cost_no_element() {
    const COUNT: u64 = 6_000;
    let mut fleet = Fleet::new();
    let proxy = Proxy::to(&fleet.url).await.unwrap();
    fleet.url = proxy.url();
    let workers = fleet.workers(2).await;
    let runtime = fleet.lead().await;
    let words = IndexedStream::from(0..COUNT).map(Dawdle { micros: 300 }).map(Word);
    let (job, folded) = words.fold(Concatenate).start(&runtime).unwrap();
    let mut progress = job.progress();
    for done in [100, 1_500, 3_000] {
        soon("progress", progress.wait_for(|progress| progress.done >= done)).await.unwrap();
        proxy.cut();
    }
    let expected: String = (0..COUNT).map(|n| format!("{},", 3 * n)).collect();
    assert!(
        soon("the words", folded).await.unwrap() == expected,
        "words are missing or out of order"
    );
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(workers).await;
}

/// Runs these commands of `rabbitmqctl`.
async fn control(node: PrivateNode, commands: &'static [&'static [&'static str]]) -> PrivateNode {
    let run = |node: &mut PrivateNode| {
        commands.iter().for_each(|command| node.control(command).unwrap());
    };
    with_node(node, run).await.0
}

/// Everything in it is gone: exchanges, queues, messages and permissions.
#[tokio::test]
async fn a_virtual_host_that_is_deleted_is_waited_for_by_those_that_run_and_those_that_start() {
    let options = NodeOptions::new().virtual_host("temporary");
    let node = start_node(options.allow("guest", "temporary", &Permissions::ALL)).await;
    let fleet = Fleet::at(node.url_for("guest", "guest", "temporary"));
    let mut worker = fleet.worker(&["--hold", "2s"]);
    worker.started().await;
    let hold = Duration::from_secs(2);
    let leader = fleet.builder().stall_after(Duration::from_secs(1)).hold(hold);
    let runtime = soon("the connection", leader.connect()).await.unwrap();
    let rendezvous = Rendezvous::new();
    let (job, held) = rendezvous.hold(&runtime, 10);
    rendezvous.started(2).await;

    let mut events = job.events();
    let node = control(node, &[&["delete_vhost", "temporary"]]).await;
    let stalled = async {
        let is_cut_off = |event| matches!(event, JobEvent::Stalled(Stall::Disconnected { .. }));
        while !is_cut_off(events.next().await.expect("the job is running")) {}
    };
    soon("a stall", stalled).await;
    let mut late = fleet.worker(&["--connect-timeout", "10m"]);
    let line = late.printed("waiting for the broker").await;
    assert!(line.contains("access to the virtual host `temporary`"), "{line}");
    worker.printed("cannot reconnect yet").await;
    rendezvous.release();
    let again: &[&[&str]] = &[
        &["add_vhost", "temporary"],
        &["set_permissions", "-p", "temporary", "guest", ".*", ".*", ".*"],
    ];
    let _node = control(node, again).await;

    let values: Vec<u64> =
        soon("all", held.map_ok(|(_, value)| value).try_collect()).await.unwrap();
    assert_eq!(values, (0..10).map(|n| 3 * n).collect::<Vec<_>>());
    late.started().await;
    assert_usable(&runtime).await;
    runtime.close().await;
    for mut worker in [worker, late] {
        worker.signal(Signal::TERM);
        worker.exited_cleanly().await;
    }
}

/// The broker loses tasks that it had confirmed.
#[tokio::test]
async fn tasks_of_a_deleted_queue_are_found_missing_and_reissued() {
    let fleet = Fleet::new();
    let hold = Duration::from_secs(2);
    let impatient = fleet.builder().stall_after(Duration::from_secs(1)).hold(hold);
    let runtime = soon("the connection", impatient.connect()).await.unwrap();
    let numbers = IndexedStream::from(0..50u64).map(Triple).ordered();
    let (job, results) = numbers.start(&runtime).unwrap();
    let mut progress = job.progress();
    soon("tasks", progress.wait_for(|progress| progress.tasks_out > 0)).await.unwrap();
    let mut events = job.events();
    let mut stalled = async |wanted: fn(&Stall) -> bool| loop {
        match events.next().await.expect("the job is running") {
            JobEvent::Stalled(stall) if wanted(&stall) => return stall.to_string(),
            _ => {}
        }
    };
    // Without a worker, every task that was published is in the queue.
    soon("a stall", stalled(|stall| matches!(stall, Stall::NoWorkers { .. }))).await;
    assert!(fleet.delete_queue(&fleet.task_queue()).await > 0);

    let mut worker = fleet.worker(&["--hold", "2s"]);
    worker.started().await;
    let missing = stalled(|stall| matches!(stall, Stall::Missing { .. }));
    let text = soon("a stall", missing).await;
    assert!(text.contains("pool `default`") && text.contains("the broker lost"), "{text}");
    // The lost tasks hold all the credit; every job may still have one task in flight.
    assert_usable(&runtime).await;
    let values: Vec<u64> =
        soon("all", results.map_ok(|(_, value)| value).try_collect()).await.unwrap();
    assert_eq!(values, (0..50).map(|n| 3 * n).collect::<Vec<_>>());

    // A worker whose queue is deleted declares it again and continues.
    fleet.delete_queue(&fleet.task_queue()).await;
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(vec![worker]).await;
}

/// Whoever publishes next declares them again, without the bindings of the queues.
#[tokio::test]
async fn exchanges_that_are_deleted_while_a_job_runs_cost_no_element_and_no_second_run() {
    let fleet = Fleet::new();
    let mut worker = fleet.worker(&[]);
    worker.started().await;
    let runtime = fleet.lead().await;
    let rendezvous = Rendezvous::new();
    let (job, held) = rendezvous.hold(&runtime, 2);
    rendezvous.started(2).await;
    let channel = fleet.raw().await.create_channel().await.unwrap();
    for exchange in ["reply", "event", "control"] {
        let exchange = format!("{}.{exchange}", fleet.namespace);
        channel.exchange_delete(exchange.into(), Default::default()).await.unwrap();
    }
    let mut events = job.events();
    rendezvous.release();
    // The worker keeps the replies until the leader has bound its queue again.
    let values: Vec<u64> =
        soon("all", held.map_ok(|(_, value)| value).try_collect()).await.unwrap();
    assert_eq!(values, [0, 3]);
    while let Some(event) = events.next().await {
        assert!(!matches!(event, JobEvent::TaskReissued { .. }), "{event:?}");
    }
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(vec![worker]).await;
}

/// A reply queue expires when its leader hangs, or cannot reach the broker, for half an hour.
#[tokio::test]
async fn a_leader_whose_reply_queue_expired_declares_it_again_and_loses_no_result() {
    // With the usual hold, no task counts as lost before the worker has published its results again.
    let (fleet, proxy, runtime) = Fleet::with_leader_through_a_proxy(|builder| builder).await;
    let mut worker = fleet.worker(&["--hold", "2s"]);
    worker.started().await;
    let rendezvous = Rendezvous::new();
    let (_job, results) = rendezvous.hold(&runtime, 2);
    rendezvous.started(2).await;

    proxy.refuse(true);
    proxy.cut();
    fleet.delete_queue(&fleet.reply_queue(&runtime)).await;
    // Both tasks finish while there is no queue for their results.
    rendezvous.release();
    fleet.emptied(&fleet.task_queue()).await;
    proxy.refuse(false);

    let values: Vec<u64> =
        soon("all", results.map_ok(|(_, value)| value).try_collect()).await.unwrap();
    assert_eq!(values, [0, 3]);
    assert_eq!((rendezvous.runs(0), rendezvous.runs(1)), (1, 1), "the worker kept the results");
    runtime.close().await;
    fleet.end(vec![worker]).await;
}
