//! Operations of several crates, and workers that are built differently from the leader.

use std::time::{Duration, Instant};

use phalanx::{Error, JobEvent, Runtime, Stall, error::Refusal, prelude::*};
use phalanx_fixture_ops_a as ops_a;
use phalanx_fixture_ops_b as ops_b;
use phalanx_fleet_tests::*;

use crate::{
    fleet::{AMBIGUOUS_WORKER, Fleet, OLDER_WORKER},
    places::{assert_usable, everywhere},
    soon,
};

#[tokio::test]
async fn operations_of_one_name_in_two_crates_are_not_mixed_up() {
    everywhere(async |runtime: &Runtime| {
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

/// What all workers refuse fails by name, after about ten seconds; what one of them can do is done.
#[tokio::test]
async fn workers_of_another_build_refuse_what_they_do_not_have() {
    let fleet = Fleet::new();
    let mut older = fleet.program(OLDER_WORKER, &[]);
    let line = older.started().await;
    assert!(line.contains("1 operations (fleet.weigh)"), "{line}");
    let runtime = fleet.lead().await;

    let began = Instant::now();
    let lacking = IndexedStream::from(0..100u64).map(Triple).collect(&runtime);
    let changed = IndexedStream::from(0..100u64).map(Weigh).collect(&runtime);
    let (lacking, changed) = soon("refusals", futures::future::join(lacking, changed)).await;
    assert!(began.elapsed() > Duration::from_secs(8), "{:?}", began.elapsed());

    let error = lacking.unwrap_err();
    let Error::Refused { operation, refusals, .. } = &error else { panic!("{error:?}") };
    assert_eq!(operation, "phalanx_fleet_tests::plain::Triple");
    let [(_, Refusal::UnknownOperation { name, known, .. })] = &refusals[..] else {
        panic!("{refusals:?}")
    };
    assert_eq!((name, &known[..]), (operation, &["fleet.weigh".to_owned()][..]));
    assert!(error.to_string().contains("use my_operations as _;"), "{error}");

    let error = changed.unwrap_err();
    let Error::Refused { operation, refusals, .. } = &error else { panic!("{error:?}") };
    assert_eq!(operation, "fleet.weigh");
    let [(_, Refusal::Fingerprint { structure, .. })] = &refusals[..] else {
        panic!("{refusals:?}")
    };
    assert!(structure.contains("input u32"), "{structure}");

    runtime.close().await;
    fleet.end(vec![older]).await;
}

#[tokio::test]
async fn a_job_that_is_refused_says_so_and_is_done_by_who_comes_in_time() {
    let fleet = Fleet::new();
    let mut older = fleet.program(OLDER_WORKER, &[]);
    older.started().await;
    let impatient = fleet.builder().stall_after(Duration::from_secs(1));
    let runtime = soon("to connect", impatient.connect()).await.unwrap();
    let (job, sum) = IndexedStream::from(0..10u64).map(Triple).fold(Sum).start(&runtime).unwrap();
    let mut events = job.events();
    let stall = async {
        loop {
            let event = events.next().await.expect("it is not over");
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

#[tokio::test]
async fn a_worker_with_two_operations_of_one_name_serves_neither_and_names_both() {
    let fleet = Fleet::new();
    let (code, said) = fleet.program(AMBIGUOUS_WORKER, &[]).code().await;
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("`fleet.twin`"), "{said}");
    assert_eq!(said.matches("ambiguous-worker.rs:").count(), 2, "{said}");
    assert_eq!(fleet.consumers(&fleet.task_queue()).await, None, "it made no queue");
    fleet.end(Vec::new()).await;
}
