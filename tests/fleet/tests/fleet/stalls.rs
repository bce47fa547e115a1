//! A stalled job emits an event that explains why, and fails with that explanation when its
//! patience is over.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream::FuturesUnordered};
use phalanx::{Error, Job, JobEvent, Results, Runtime, RuntimeBuilder, Stall, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_node::NodeOptions;
use phalanx_test_support::soon;
use rustix::process::Signal;

use crate::support::{Fleet, Process, Rendezvous, assert_usable, start_node, with_node};

/// How long workers hold a delivery before they lease it, and what leaders assume.
const HOLD: Duration = Duration::from_secs(2);

/// Reports a stall after less than a second.
fn reporting(builder: RuntimeBuilder) -> RuntimeBuilder {
    builder.hold(HOLD).stall_after(Duration::from_millis(700))
}

/// Reports a stall, and fails a job that makes no progress for 15 seconds.
fn impatient(builder: RuntimeBuilder) -> RuntimeBuilder {
    reporting(builder).patience(Duration::from_secs(15))
}

async fn lead(builder: RuntimeBuilder) -> Runtime {
    soon("the connection", builder.connect()).await.unwrap()
}

async fn worker(fleet: &Fleet) -> Process {
    let mut worker = fleet.worker(&["--hold", "2s"]);
    worker.started().await;
    worker
}

/// Waits until the job reports the wanted stall, and returns its text.
async fn stall_of(job: &Job, wanted: fn(&Stall) -> bool) -> String {
    let mut events = job.events();
    let stalled = async {
        loop {
            match events.next().await.expect("the job is running") {
                JobEvent::Stalled(stall) if wanted(&stall) => return stall.to_string(),
                _ => {}
            }
        }
    };
    soon("a stall", stalled).await
}

/// The explanation with which a stalled job failed.
async fn error_of(results: Results<u64>) -> String {
    let outcome =
        soon("the end of the job", results.map_ok(|(_, value)| value).try_collect::<Vec<_>>())
            .await;
    match outcome.unwrap_err() {
        Error::Stalled { cause, .. } => cause,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_unreachable_broker_is_reported_as_a_stall_and_fails_the_job() {
    let (fleet, proxy, runtime) = Fleet::with_leader_through_a_proxy(impatient).await;
    let worker = worker(&fleet).await;
    let rendezvous = Rendezvous::new();
    let (job, results) = rendezvous.hold(&runtime, 2);
    rendezvous.started(2).await;
    proxy.refuse(true);
    proxy.cut();
    let text = stall_of(&job, |stall| matches!(stall, Stall::Disconnected { .. })).await;
    for text in [text, error_of(results).await] {
        assert!(text.starts_with("lost the connection to the broker ("), "{text}");
        assert!(text.ends_with("); reconnecting"), "{text}");
    }

    // The next job is not affected.
    rendezvous.release();
    proxy.refuse(false);
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(vec![worker]).await;
}

#[tokio::test]
async fn a_broker_that_blocks_publishers_is_reported_with_its_reason_and_fails_the_job() {
    let (fleet, proxy, runtime) = Fleet::with_leader_through_a_proxy(impatient).await;
    proxy.block_publishing("low on memory");
    let (job, results) = IndexedStream::from(0..9u64).map(Triple).start(&runtime).unwrap();
    let text = stall_of(&job, |stall| matches!(stall, Stall::Blocked { .. })).await;
    assert!(text.contains("low on memory") && text.contains("free memory"), "{text}");
    assert_eq!(error_of(results).await, text);

    proxy.unblock();
    let worker = worker(&fleet).await;
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(vec![worker]).await;
}

#[tokio::test]
async fn a_pool_without_workers_is_reported_as_a_stall_and_fails_the_job() {
    let fleet = Fleet::new();
    let runtime = lead(impatient(fleet.builder())).await;
    let (job, results) = IndexedStream::from(0..9u64).map(Triple).start(&runtime).unwrap();
    let text = stall_of(&job, |stall| matches!(stall, Stall::NoWorkers { .. })).await;
    assert!(text.contains("start one with `--pool default`"), "{text}");
    assert!(error_of(results).await.contains("no worker serves pool `default`"));
    runtime.close().await;
    fleet.end(Vec::new()).await;
}

/// Its stall names the operation and the element; tasks that are queued after it are reported as
/// queued.
#[tokio::test]
async fn a_hanging_operation_is_reported_by_name_and_fails_its_job_and_those_queued_after_it() {
    let fleet = Fleet::new();
    let worker = worker(&fleet).await;
    let (runtime, other, rendezvous) = (
        lead(impatient(fleet.builder())).await,
        lead(impatient(fleet.builder())).await,
        Rendezvous::new(),
    );
    // One for each slot.
    let (job, results) = rendezvous.hold(&runtime, 2);
    rendezvous.started(2).await;
    let (later, waiting) = IndexedStream::from(0..9u64).map(Triple).start(&other).unwrap();
    let (text, queued) = tokio::join!(
        stall_of(&job, |stall| matches!(stall, Stall::Running { .. })),
        stall_of(&later, |stall| matches!(stall, Stall::Queued { .. })),
    );
    assert!(text.contains("Hold") && text.contains("element 0"), "{text}");
    assert!(queued.contains("behind others in the queue"), "{queued}");
    let (error, later) = tokio::join!(error_of(results), error_of(waiting));
    assert!(error.contains("Hold"), "{error}");
    // By then, the probes of a slow machine have not come back often enough to be mentioned.
    assert!(
        later.contains("behind others in the queue") || later.contains("probes in a row"),
        "{later}"
    );

    // Both elements are cancelled, and their slots are free again.
    rendezvous.cancelled(2).await;
    assert_usable(&other).await;
    runtime.close().await;
    other.close().await;
    fleet.end(vec![worker]).await;
}

/// It holds deliveries that no other worker can get.
#[tokio::test]
async fn tasks_of_a_hanging_worker_are_found_missing_and_run_elsewhere() {
    let fleet = Fleet::new();
    let (runtime, rendezvous) = (lead(reporting(fleet.builder())).await, Rendezvous::new());
    let hanging = worker(&fleet).await;
    let (job, results) = rendezvous.hold(&runtime, 1);
    rendezvous.started_in(&hanging.id()).await;
    hanging.signal(Signal::STOP);
    let other = worker(&fleet).await;
    let text = stall_of(&job, |stall| matches!(stall, Stall::Missing { .. })).await;
    assert!(text.contains("a worker hangs"), "{text}");
    rendezvous.ran(0, 2).await;
    rendezvous.release();
    let values: Vec<_> = soon("the result", results.collect()).await.unwrap();
    assert_eq!(values, [(0, 0)]);
    hanging.signal(Signal::CONT);
    runtime.close().await;
    fleet.end(vec![hanging, other]).await;
}

/// Most of the tasks never reach a worker, however often they are reissued.
#[tokio::test]
async fn jobs_whose_tasks_a_policy_drops_again_and_again_fail_and_name_the_likely_causes() {
    let node = start_node(NodeOptions::new()).await;
    let (node, applied) = with_node(node, |node| {
        node.control(&["set_policy", "short", ".*task.*", r#"{"max-length":1}"#])
    })
    .await;
    applied.unwrap();
    let fleet = Fleet::at(node.url());
    let mut worker = fleet.worker(&["--hold", "1s"]);
    worker.started().await;
    // Far longer than two rounds of losses take.
    let builder = fleet.builder().hold(Duration::from_secs(1)).patience(Duration::from_secs(25));
    let runtime = lead(builder).await;
    // Each job may have a task out, so all of them are published at once: far more than the queue
    // and the prefetch of one worker hold.
    let call = |n: u64| runtime.call(Dawdle { micros: 300_000 }, n);
    let mut calls: FuturesUnordered<_> =
        (0..200).map(|n| async move { (n, call(n).await) }).collect();
    let mut stalled = 0;
    let ended = async {
        while let Some((n, outcome)) = calls.next().await {
            match outcome {
                Ok(value) => assert_eq!(value, 3 * n),
                Err(Error::Stalled { cause, .. }) => {
                    assert!(cause.contains("without a reply"), "{cause}");
                    assert!(cause.contains("max-length") && cause.contains("full disk"), "{cause}");
                    stalled += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    };
    soon("the ends of all jobs", ended).await;
    assert!(stalled > 0, "the policy has dropped nothing");
    drop(calls);
    runtime.close().await;
    worker.signal(Signal::TERM);
    worker.exited_cleanly().await;
}
