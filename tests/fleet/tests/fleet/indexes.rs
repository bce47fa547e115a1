//! The numbers by which an operation identifies its element.

use phalanx::{Error, Runtime, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_support::soon;

use crate::support::Fleet;

/// A user who logs `cx.index()` finds the element in the source, and in results and errors.
async fn check(runtime: &Runtime) {
    let thrice = || IndexedStream::from(0..10u64).flat_map(Thrice).batch(4);

    // After a `flat_map` in the same stage, the element is still that of the source.
    let first_stage = thrice().map(Locate).ordered().run(runtime).await.unwrap();
    let first_stage: Vec<(u64, Located)> = first_stage.collect().await.unwrap();
    let expected = |n: u64| (n / 3, Located { stage: 0, index: n / 3, position: n / 3 });
    assert_eq!(first_stage, (0..30).map(expected).collect::<Vec<_>>());

    // In a second stage, each output of the `flat_map` is an element with its own position.
    let second_stage = thrice().map(Locate).pool("other").ordered().run(runtime).await.unwrap();
    let second_stage: Vec<(u64, Located)> = second_stage.collect().await.unwrap();
    let expected = |n: u64| (n / 3, Located { stage: 1, index: n / 3, position: n });
    assert_eq!(second_stage, (0..30).map(expected).collect::<Vec<_>>());

    let failing = thrice().map(FailAtPosition { unwanted: 16 }).pool("other");
    match failing.collect(runtime).await.unwrap_err() {
        Error::Execute(failure) => {
            assert_eq!((failure.stage, failure.index), (1, 5));
            assert_eq!(failure.error.message(), "index 5, position 16");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn operations_results_and_errors_agree_on_the_index_in_memory() {
    let memory = Runtime::builder().url("memory://").slots(2).connect().await.unwrap();
    soon("the jobs", check(&memory)).await;
    memory.close().await;
}

#[tokio::test]
async fn operations_results_and_errors_agree_on_the_index_on_a_fleet() {
    let fleet = Fleet::new();
    let mut workers = vec![fleet.worker(&[]), fleet.worker(&["--pool", "other"])];
    for worker in &mut workers {
        worker.started().await;
    }
    let runtime = fleet.lead().await;
    soon("the jobs", check(&runtime)).await;
    runtime.close().await;
    fleet.end(workers).await;
}
