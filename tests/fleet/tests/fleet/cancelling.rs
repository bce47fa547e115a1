//! Jobs that nobody wants any more, and what a closed runtime leaves behind.

use std::time::{Duration, Instant};

use phalanx::{Error, Runtime, prelude::*};
use phalanx_fleet_tests::*;

use rustix::process::Signal;
use tokio::process::Command;

use crate::{
    fleet::{Fleet, WorkerProcess},
    meeting::Meeting,
    places::{assert_usable, everywhere},
    soon,
};

/// Running operations hear of it so soon. A machine that is busy with other tests may stand still
/// for longer than that: so it is tried a few times.
const AT_ONCE: Duration = Duration::from_secs(1);
const TRIES: u32 = 10;

/// Both slots of a worker in blocking operations, or more elements in asynchronous ones.
#[tokio::test]
async fn a_cancelled_job_ends_its_operations_and_no_others() {
    everywhere(async |runtime: &Runtime| {
        for asynchronous in [false, true] {
            let (cancelled, other) = (Meeting::new(), Meeting::new());
            let start = |meeting: &Meeting, count: u64| {
                let (numbers, directory) = (IndexedStream::from(0..count), meeting.place());
                let numbers = match asynchronous {
                    false => numbers.map(Hold { directory }),
                    true => numbers.map(HoldLater { directory }),
                };
                numbers.batch(1).start(runtime).unwrap()
            };
            let (_job, others) = start(&other, 1);
            other.said("started", 1).await;
            let (job, mut results) = start(&cancelled, 20);
            cancelled.said("started", 1).await;
            job.cancel();
            let end = soon("the end", results.next()).await;
            assert!(matches!(end, Some(Err(Error::Cancelled { job: id })) if id == job.id()));
            assert!(soon("the end", results.next()).await.is_none());
            cancelled.said("cancelled", 1).await;
            other.open();
            let others: Vec<_> = soon("the others", others.try_collect()).await.unwrap();
            assert_eq!(others, [(0, 0)]);
        }
    })
    .await;
}

#[tokio::test]
async fn running_operations_hear_within_a_second_that_nobody_waits_for_them() {
    everywhere(async |runtime: &Runtime| {
        let mut took = Duration::MAX;
        for _ in 0..TRIES {
            let meeting = Meeting::new();
            let held = IndexedStream::from(0..2u64).map(Hold { directory: meeting.place() });
            let (job, _results) = held.batch(1).start(runtime).unwrap();
            meeting.said("started", 2).await;
            let began = Instant::now();
            job.cancel();
            meeting.said("cancelled", 2).await;
            took = took.min(began.elapsed());
            if took < AT_ONCE {
                return;
            }
        }
        panic!("{took:?} at best");
    })
    .await;
}

#[tokio::test]
async fn a_job_that_is_dropped_is_cancelled() {
    everywhere(async |runtime: &Runtime| {
        for with_handle in [false, true] {
            let meeting = Meeting::new();
            let held = IndexedStream::from(0..20u64).map(Hold { directory: meeting.place() });
            if with_handle {
                let (job, results) = held.start(runtime).unwrap();
                meeting.said("started", 1).await;
                drop(results);
                drop(job);
            } else {
                let results = held.run(runtime).await.unwrap();
                meeting.said("started", 1).await;
                drop(results);
            }
            meeting.said("cancelled", 1).await;
        }
        assert_usable(runtime).await;
    })
    .await;
}

/// As the shell does it with ctrl-c, and a supervisor with SIGTERM.
#[tokio::test]
async fn a_leader_that_is_told_to_end_cancels_its_jobs_and_leaves_no_queue_behind() {
    for signal in [Signal::INT, Signal::TERM] {
        let (fleet, workers) = Fleet::with_workers(1).await;
        let meeting = Meeting::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_leader"));
        command.arg(meeting.place()).env("PHALANX_NAMESPACE", &fleet.namespace);
        let mut leader = WorkerProcess::spawn(&mut command, &fleet.url);
        meeting.said("started", 2).await;
        leader.signal(signal);
        meeting.said("cancelled", 2).await;
        let (code, said) = leader.code().await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("Closed"), "{said}");
        fleet.emptied(&fleet.task_queue()).await;
        assert!(meeting.runs(0) + meeting.runs(1) <= 2, "nothing else began");
        fleet.end(workers).await;
    }
}

#[tokio::test]
async fn a_closed_runtime_ends_its_jobs_and_leaves_no_queue_behind() {
    let (fleet, workers) = Fleet::with_workers(1).await;
    let (runtime, meeting) = (fleet.lead().await, Meeting::new());
    let replies = format!("{}.reply.{}", fleet.namespace, runtime.leader());
    assert_eq!(fleet.consumers(&replies).await, Some(1));
    let held = IndexedStream::from(0..20u64).map(Hold { directory: meeting.place() });
    let mut results = held.run(&runtime).await.unwrap();
    meeting.said("started", 1).await;
    let again = runtime.clone();
    soon("to close", runtime.close()).await;
    assert_eq!(fleet.consumers(&replies).await, None);
    let end = soon("the end", results.next()).await;
    assert!(matches!(end, Some(Err(Error::Cancelled { .. } | Error::Closed))), "{end:?}");
    meeting.said("cancelled", 1).await;
    let refused = IndexedStream::from(0..3u64).map(Triple).collect(&again).await;
    assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");

    // One that is only dropped does the same in its own time.
    let runtime = fleet.lead().await;
    let replies = format!("{}.reply.{}", fleet.namespace, runtime.leader());
    assert_usable(&runtime).await;
    drop(runtime);
    let gone = async {
        while fleet.consumers(&replies).await.is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the queue to go", gone).await;
    fleet.end(workers).await;
}
