//! Operations of several crates, and workers of a different build than the leader.

use std::time::{Duration, Instant};

use phalanx::{
    Error, JobEvent, Runtime, Stall,
    error::{Refusal, RefusedError},
    prelude::*,
};
use phalanx_fixture_ops_a as ops_a;
use phalanx_fixture_ops_b as ops_b;
use phalanx_fleet_tests::*;
use phalanx_test_support::soon;

use crate::support::{AMBIGUOUS_WORKER, Fleet, OLDER_WORKER, assert_usable, on_every_runtime};

#[tokio::test]
async fn operations_with_the_same_name_in_two_crates_are_distinguished() {
    on_every_runtime(async |runtime: &Runtime| {
        let a = IndexedStream::from(1..=3u64).map(ops_a::AddMillion).collect(runtime);
        let b = IndexedStream::from(1..=3u64).map(ops_b::AddMillion).collect(runtime);
        let (a, b) = tokio::join!(a, b);
        assert_eq!(a.unwrap(), [1_000_001, 1_000_002, 1_000_003]);
        assert_eq!(b.unwrap(), [3, 6, 9]);
        let both = IndexedStream::from(1..=3u64).map(ops_a::AddMillion).map(ops_b::AddMillion);
        assert_eq!(both.collect(runtime).await.unwrap(), [3_000_003, 3_000_006, 3_000_009]);
    })
    .await;
}

/// An operation that no worker can run fails with the reason, after about ten seconds, although most
/// workers never get a task of the job.
#[tokio::test]
async fn workers_of_another_build_refuse_operations_that_they_lack() {
    let fleet = Fleet::new();
    let mut older: Vec<_> = (0..4).map(|_| fleet.program(OLDER_WORKER, &[])).collect();
    for worker in &mut older {
        let line = worker.started().await;
        assert!(line.contains("1 operations (fleet.weigh)"), "{line}");
    }
    let runtime = fleet.lead().await;

    let began = Instant::now();
    let lacking = IndexedStream::from(0..100u64).map(Triple).collect(&runtime);
    let changed = IndexedStream::from(0..100u64).map(Weigh).collect(&runtime);
    let (lacking, changed) = soon("refusals", futures::future::join(lacking, changed)).await;
    assert!(began.elapsed() > Duration::from_secs(8), "{:?}", began.elapsed());

    let error = lacking.unwrap_err();
    let Error::Refused(refused) = &error else { panic!("{error:?}") };
    let RefusedError { operation, refusals, workers: 4, .. } = &**refused else {
        panic!("{refused:?}")
    };
    assert_eq!(operation, "phalanx_fleet_tests::plain::Triple");
    let (_, Refusal::UnknownOperation { name, known, .. }) = &refusals[0] else {
        panic!("{refusals:?}")
    };
    assert_eq!((name, &known[..]), (operation, &["fleet.weigh".to_owned()][..]));
    let text = error.to_string();
    assert!(text.contains("none of the 4 live workers of pool `default`"), "{text}");
    assert!(text.contains("use my_operations as _;"), "{text}");

    let error = changed.unwrap_err();
    let Error::Refused(refused) = &error else { panic!("{error:?}") };
    let RefusedError { operation, refusals, .. } = &**refused;
    assert_eq!(operation, "fleet.weigh");
    let (_, Refusal::Fingerprint { structure, .. }) = &refusals[0] else { panic!("{refusals:?}") };
    assert!(structure.contains("input u32"), "{structure}");
    let text = error.to_string();
    assert!(text.contains("this program has version 0, state (), input u64"), "{text}");

    runtime.close().await;
    fleet.end(older).await;
}

#[tokio::test]
async fn a_refused_job_reports_a_stall_and_runs_once_a_suitable_worker_starts() {
    let fleet = Fleet::new();
    let mut older = fleet.program(OLDER_WORKER, &[]);
    older.started().await;
    let impatient = fleet.builder().stall_after(Duration::from_secs(1));
    let runtime = soon("the connection", impatient.connect()).await.unwrap();
    let (job, sum) = IndexedStream::from(0..10u64).map(Triple).fold(Sum).start(&runtime).unwrap();
    let mut events = job.events();
    let stall = async {
        loop {
            let event = events.next().await.expect("the job is running");
            if let JobEvent::Stalled(Stall::Refused { operation, .. }) = event {
                return operation;
            }
        }
    };
    assert_eq!(soon("a stall", stall).await, "phalanx_fleet_tests::plain::Triple");
    let mut newer = fleet.worker(&[]);
    newer.started().await;
    assert_eq!(soon("the sum", sum).await.unwrap(), 135);
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(vec![older, newer]).await;
}

/// They pause longer and longer between the tasks that they refuse.
#[tokio::test]
async fn one_worker_of_the_same_build_among_others_gets_the_job_done() {
    let fleet = Fleet::new();
    let mut workers: Vec<_> = (0..3).map(|_| fleet.program(OLDER_WORKER, &[])).collect();
    workers.push(fleet.worker(&[]));
    for worker in &mut workers {
        worker.started().await;
    }
    let runtime = fleet.lead().await;
    let tripled = IndexedStream::from(0..200u64).batch(1).map(Dawdle { micros: 100_000 });
    let sum = soon("the sum", tripled.fold(Sum).run(&runtime)).await.unwrap();
    assert_eq!(sum, 3 * 199 * 200 / 2);
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_worker_with_two_operations_of_one_name_exits_and_names_both() {
    let fleet = Fleet::new();
    let (code, stderr) = fleet.program(AMBIGUOUS_WORKER, &[]).exit().await;
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("`fleet.twin`"), "{stderr}");
    assert_eq!(stderr.matches("ambiguous-worker.rs:").count(), 2, "{stderr}");
    assert_eq!(fleet.consumers(&fleet.task_queue()).await, None, "the worker declared no queue");
    fleet.end(Vec::new()).await;
}
