//! Settings of calls, folds and workers in memory.

use std::time::Duration;

use phalanx::{Error, operation::ErrorKind, prelude::*};
use phalanx_test_support::soon;
use tokio::sync::Barrier;

/// More than a worker in memory runs at once by default.
const MANY: usize = 300;

#[operation]
fn triple(n: u64) -> u64 {
    3 * n
}

#[operation(retries = 1, backoff = "1ms..2ms")]
fn stumble(n: u64, cx: &TaskContext) -> Result<u64> {
    match cx.tries() {
        1 | 2 => Err(OperationError::fatal("busy").transient()),
        _ => Ok(n),
    }
}

#[operation]
async fn wait(seconds: u64) -> u64 {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    seconds
}

#[operation]
fn always_busy(_a: u64, _b: u64) -> Result<u64> {
    Err(OperationError::fatal("busy").transient())
}

#[operation]
fn never_end(_a: u64, _b: u64, cx: &TaskContext) -> u64 {
    while !cx.is_cancelled() {
        std::thread::sleep(Duration::from_millis(1));
    }
    0
}

#[operation]
async fn meet(n: u64) -> u64 {
    static ALL: std::sync::OnceLock<Barrier> = std::sync::OnceLock::new();
    ALL.get_or_init(|| Barrier::new(MANY)).wait().await;
    n
}

/// The number of tries after which the job failed.
fn tries<T: std::fmt::Debug>(outcome: Result<T, Error>) -> u32 {
    match outcome {
        Err(Error::Execute(failure)) => failure.tries,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_yields_the_output_of_one_input_with_its_own_settings() {
    let runtime = Runtime::connect("memory://").await.unwrap();
    assert_eq!(runtime.call(Triple, 14).await.unwrap(), 42);
    assert_eq!(runtime.call(Triple, 14).pool("elsewhere").await.unwrap(), 42);
    assert_eq!(tries(runtime.call(Stumble, 7).await), 2);
    assert_eq!(runtime.call(Stumble, 7).retries(2).await.unwrap(), 7);
    let late = runtime.call(Wait, 600).timeout(Duration::from_millis(5)).retries(0).await;
    match late {
        Err(Error::Execute(failure)) => assert_eq!(failure.error.kind(), ErrorKind::Timeout),
        other => panic!("{other:?}"),
    }
    let (long, short) = (Duration::from_secs(2), Duration::from_secs(1));
    let reversed = runtime.call(Triple, 1).backoff(long, short).await.unwrap_err();
    assert!(matches!(reversed, Error::Plan(phalanx::PlanError::Backoff { .. })), "{reversed}");
}

#[tokio::test]
async fn a_fold_has_its_own_retries_pool_and_timeout() {
    let runtime = Runtime::connect("memory://").await.unwrap();
    let busy = || IndexedStream::from([1, 2]).reduce(AlwaysBusy);
    let brief = Duration::from_millis(1);
    assert_eq!(tries(busy().retries(0).run(&runtime).await), 1);
    assert_eq!(tries(busy().retries(2).backoff(brief, brief).run(&runtime).await), 3);
    // The input has one batch for each element, so what never ends is a combination.
    let endless = IndexedStream::from([1, 2]).map(Triple).batch(1).reduce(NeverEnd);
    let late = endless.timeout(Duration::from_millis(20)).retries(0).run(&runtime).await;
    match late {
        Err(Error::Execute(failure)) => assert_eq!(failure.error.kind(), ErrorKind::Timeout),
        other => panic!("{other:?}"),
    }
    let plan = busy().pool("light").timeout(Duration::from_secs(9)).explain().unwrap();
    assert!(plan.contains("pool `light`") && plan.contains("timeout 9s"), "{plan}");
}

#[tokio::test]
async fn a_runtime_in_memory_runs_as_many_asynchronous_elements_at_once_as_it_is_asked_to() {
    let builder = Runtime::builder().url("memory://").async_slots(4 * MANY);
    let runtime = builder.connect().await.unwrap();
    let all = IndexedStream::from(0..MANY as u64).map(Meet).batch(MANY as u32);
    let met = soon("all elements at once", all.collect(&runtime)).await.unwrap();
    assert_eq!(met.len(), MANY);
}
