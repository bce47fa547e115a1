//! Cancelled and dropped jobs, and closed runtimes.

use std::time::{Duration, Instant};

use phalanx::{Error, Runtime, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_support::{soon, until};
use rustix::process::Signal;
use tokio::process::Command;

use crate::support::{Fleet, Process, Rendezvous, assert_usable, on_every_runtime};

/// The promised bound. A busy machine can pause this process for longer, so only one run of several
/// must meet it.
const PROMISED: Duration = Duration::from_secs(1);
const RUNS: u32 = 10;

/// With blocking and with asynchronous operations.
#[tokio::test]
async fn cancelling_a_job_cancels_its_operations_and_no_others() {
    on_every_runtime(async |runtime: &Runtime| {
        for asynchronous in [false, true] {
            let (cancelled, other) = (Rendezvous::new(), Rendezvous::new());
            let start = |rendezvous: &Rendezvous, count: u64| {
                let (numbers, directory) = (IndexedStream::from(0..count), rendezvous.directory());
                let numbers = match asynchronous {
                    false => numbers.map(Hold { directory }),
                    true => numbers.map(HoldLater { directory }),
                };
                numbers.batch(1).start(runtime).unwrap()
            };
            let (_job, others) = start(&other, 1);
            other.started(1).await;
            let (job, mut results) = start(&cancelled, 20);
            cancelled.started(1).await;
            job.cancel();
            let end = soon("the end", results.next()).await;
            assert!(matches!(end, Some(Err(Error::Cancelled { job: id })) if id == job.id()));
            assert!(soon("the end", results.next()).await.is_none());
            cancelled.cancelled(1).await;
            other.release();
            let others: Vec<_> = soon("the others", others.collect()).await.unwrap();
            assert_eq!(others, [(0, 0)]);
        }
    })
    .await;
}

#[tokio::test]
async fn running_operations_see_a_cancellation_within_a_second() {
    on_every_runtime(async |runtime: &Runtime| {
        let mut took = Duration::MAX;
        for _ in 0..RUNS {
            let rendezvous = Rendezvous::new();
            let (job, _results) = rendezvous.hold(runtime, 2);
            rendezvous.started(2).await;
            let began = Instant::now();
            job.cancel();
            rendezvous.cancelled(2).await;
            took = took.min(began.elapsed());
            if took < PROMISED {
                return;
            }
        }
        panic!("the fastest cancellation took {took:?}");
    })
    .await;
}

#[tokio::test]
async fn dropping_a_job_cancels_it() {
    on_every_runtime(async |runtime: &Runtime| {
        for with_handle in [false, true] {
            let rendezvous = Rendezvous::new();
            let held =
                IndexedStream::from(0..20u64).map(Hold { directory: rendezvous.directory() });
            if with_handle {
                let (job, results) = held.start(runtime).unwrap();
                rendezvous.started(1).await;
                drop(results);
                drop(job);
            } else {
                let results = held.run(runtime).await.unwrap();
                rendezvous.started(1).await;
                drop(results);
            }
            rendezvous.cancelled(1).await;
        }
        assert_usable(runtime).await;
    })
    .await;
}

/// A shell sends SIGINT on Ctrl-C, a supervisor SIGTERM.
#[tokio::test]
async fn a_leader_stopped_by_a_signal_cancels_its_jobs_and_deletes_its_queues() {
    for signal in [Signal::INT, Signal::TERM] {
        let (fleet, workers) = Fleet::with_workers(1).await;
        let rendezvous = Rendezvous::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_leader"));
        command.arg(rendezvous.directory()).env("PHALANX_NAMESPACE", &fleet.namespace);
        let mut leader = Process::spawn(&mut command, &fleet.url);
        rendezvous.started(2).await;
        leader.signal(signal);
        rendezvous.cancelled(2).await;
        let (code, stderr) = leader.exit().await;
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains("which closed the runtime"), "{stderr}");
        fleet.emptied(&fleet.task_queue()).await;
        assert!(rendezvous.runs(0) + rendezvous.runs(1) <= 2, "another element started");
        fleet.end(workers).await;
    }
}

#[tokio::test]
async fn closing_a_runtime_cancels_its_jobs_and_deletes_its_queues() {
    let (fleet, workers) = Fleet::with_workers(1).await;
    let (runtime, rendezvous) = (fleet.lead().await, Rendezvous::new());
    let replies = fleet.reply_queue(&runtime);
    assert_eq!(fleet.consumers(&replies).await, Some(1));
    let held = IndexedStream::from(0..20u64).map(Hold { directory: rendezvous.directory() });
    let mut results = held.run(&runtime).await.unwrap();
    rendezvous.started(1).await;
    let again = runtime.clone();
    soon("the runtime to close", runtime.close()).await;
    assert_eq!(fleet.consumers(&replies).await, None);
    let end = soon("the end", results.next()).await;
    assert!(matches!(end, Some(Err(Error::Closed))), "{end:?}");
    rendezvous.cancelled(1).await;
    let refused = IndexedStream::from(0..3u64).map(Triple).collect(&again).await;
    assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");

    // A runtime that is dropped does the same in the background.
    let runtime = fleet.lead().await;
    let replies = fleet.reply_queue(&runtime);
    assert_usable(&runtime).await;
    drop(runtime);
    let is_deleted = async || fleet.consumers(&replies).await.is_none();
    until("the deletion of the reply queue", is_deleted).await;
    fleet.end(workers).await;
}
