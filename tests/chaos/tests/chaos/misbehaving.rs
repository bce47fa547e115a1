//! Operations that misbehave at one element: it fails by its name, and no other is lost, neither of
//! its batch nor of another job.

use std::{ops::AsyncFn, time::Duration};

use phalanx::{
    Error, Runtime,
    error::{ErrorKind, ExecuteError},
    prelude::*,
};
use phalanx_chaos::{MemoryLimit, Workers, misbehaving::*};

use crate::test_url;

/// Most are in one batch with the one at fault.
const COUNT: u64 = 300;
const AT: u64 = 137;
/// Nothing here takes so long on any machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a test on a fleet of two workers; returns how many of them ended by themselves.
async fn on_a_fleet(test: impl AsyncFn(&Runtime)) -> usize {
    let workers = Workers::start(env!("CARGO_BIN_EXE_chaos").into(), test_url(), 2).await.unwrap();
    on_these(&workers, test).await
}

async fn on_these(workers: &Workers, test: impl AsyncFn(&Runtime)) -> usize {
    let builder = Runtime::builder().url(test_url()).namespace(workers.namespace());
    let runtime = builder.connect().await.unwrap();
    let neighbour = IndexedStream::from(0..COUNT).map(Fail { at: u64::MAX }).batch(1);
    let (_job, neighbour) = neighbour.count().start(&runtime).unwrap();
    tokio::time::timeout(PATIENCE, test(&runtime)).await.expect("it takes too long");
    assert_eq!(neighbour.await.unwrap(), COUNT);
    runtime.close().await;
    workers.end().await;
    workers.sweep().await.unwrap();
    workers.report().problems().len()
}

fn numbers() -> IndexedStream<u64> {
    IndexedStream::from(0..COUNT).batch(100)
}

fn all_but_one() -> Vec<u64> {
    (0..COUNT).filter(|n| *n != AT).collect()
}

/// What is said of the element at fault.
fn at_fault(error: Error) -> ExecuteError {
    let Error::Execute(failure) = error else { panic!("{error:?}") };
    assert_eq!(failure.index, AT, "{failure:?}");
    *failure
}

/// The element at fault fails the job by its name, or is left out, or becomes a value.
macro_rules! fails_alone {
    ($runtime:expr, $operation:ident, $kind:pat, $says:expr) => {{
        let failing = || numbers().map($operation { at: AT });
        let failure = at_fault(failing().collect($runtime).await.unwrap_err());
        assert!(matches!(failure.error.kind(), $kind), "{failure:?}");
        assert!(failure.error.to_string().contains($says), "{failure:?}");
        assert!(failure.operation.ends_with(stringify!($operation)), "{failure:?}");
        let rest = failing().on_failure(OnFailure::Skip).collect($runtime).await.unwrap();
        assert_eq!(rest, all_but_one());
        let values = numbers().try_map($operation { at: AT }).collect($runtime).await.unwrap();
        let failed = values.iter().enumerate().filter(|(_, value)| value.is_err());
        assert_eq!(failed.map(|(index, _)| index as u64).collect::<Vec<_>>(), [AT]);
    }};
}

#[tokio::test]
async fn errors_and_panics_of_any_kind_fail_one_element() {
    let ended = on_a_fleet(async |runtime: &Runtime| {
        fails_alone!(runtime, Fail, ErrorKind::Fatal, "it will not do");
        fails_alone!(runtime, FailForNow, ErrorKind::Transient, "not now");
        fails_alone!(runtime, PanicWithANumber, ErrorKind::Panic, "a value that is not a string");
        fails_alone!(runtime, DropBadly, ErrorKind::Panic, "dropped and broken");
        fails_alone!(runtime, PanicBadly, ErrorKind::Panic, "a value that is not a string");
    })
    .await;
    assert_eq!(ended, 0, "no worker ends of an error or a panic");
}

#[tokio::test]
async fn an_output_that_does_not_serialize_fails_alone() {
    let ended = on_a_fleet(async |runtime: &Runtime| {
        let hiding = || numbers().map(Hide { at: AT });
        let failure = at_fault(hiding().collect(runtime).await.unwrap_err());
        assert!(failure.error.to_string().contains("it hides"), "{failure:?}");
        let rest = hiding().on_failure(OnFailure::Skip).collect(runtime).await.unwrap();
        assert_eq!(rest.into_iter().map(|shy| shy.number).collect::<Vec<_>>(), all_but_one());
    })
    .await;
    assert_eq!(ended, 0);
}

/// Whoever understands an element runs it; who does not names it.
#[tokio::test]
async fn an_input_that_only_some_workers_understand_harms_no_other() {
    let ended = on_a_fleet(async |runtime: &Runtime| {
        let foreign = IndexedStream::from((0..COUNT).map(Foreign)).batch(20).map(Understand);
        let values = foreign.on_failure(OnFailure::Skip).collect(runtime).await.unwrap();
        let clear: Vec<u64> = (0..COUNT).filter(|n| n % 10 != 0).collect();
        let found: Vec<u64> = values.into_iter().filter(|n| n % 10 != 0).collect();
        assert_eq!(found, clear);
        let foreign = IndexedStream::from((0..COUNT).map(Foreign)).batch(20).try_map(Understand);
        for (n, value) in (0..).zip(foreign.collect(runtime).await.unwrap()) {
            match value {
                Ok(value) => assert_eq!(value, n),
                Err(error) => {
                    assert_eq!((n % 10, error.kind()), (0, ErrorKind::Codec), "{n}: {error}");
                }
            }
        }
    })
    .await;
    assert_eq!(ended, 0);
}

/// Its thread is given up; a worker that has no others left ends in an orderly way.
#[tokio::test]
async fn an_operation_that_does_not_end_fails_one_element() {
    let ended = on_a_fleet(async |runtime: &Runtime| {
        fails_alone!(runtime, Spin, ErrorKind::Timeout, "");
    })
    .await;
    assert!(ended <= 1, "{ended} workers ended for three threads");
}

/// Once with others, where it takes its worker along, and then in a child process of another, which
/// tells which element it was.
#[tokio::test]
async fn what_ends_its_process_takes_one_worker_along_and_is_named() {
    let ended = on_a_fleet(async |runtime: &Runtime| {
        let aborting = numbers().map(Abort { at: AT });
        let rest = aborting.on_failure(OnFailure::Skip).collect(runtime).await.unwrap();
        assert_eq!(rest, all_but_one());
    })
    .await;
    assert_eq!(ended, 1, "an abort");

    let ended = on_a_fleet(async |runtime: &Runtime| {
        let overflowing = numbers().map(Overflow { at: AT }).collect(runtime);
        let failure = at_fault(overflowing.await.unwrap_err());
        assert_eq!(failure.error.kind(), ErrorKind::Crash, "{failure:?}");
        assert!(failure.operation.ends_with("Overflow"), "{failure:?}");
    })
    .await;
    assert_eq!(ended, 1, "a stack overflow");
}

/// The kernel kills the largest process of those that share the limit: the worker, and then the child of
/// another.
#[tokio::test]
async fn what_takes_all_memory_takes_one_worker_along_and_is_named() {
    const LIMIT: u64 = 512 << 20;
    let memory = MemoryLimit::new(LIMIT);
    // Without a limit, others would suffer.
    let most = if memory.is_some() { 2 * LIMIT } else { 0 };
    let workers = Workers::within(memory, env!("CARGO_BIN_EXE_chaos").into(), test_url(), 2);
    let workers = workers.await.unwrap();
    let ended = on_these(&workers, async |runtime: &Runtime| {
        // In one batch with all others.
        let numbers = IndexedStream::from(0..5_000u64).batch(5_000);
        let hog = TakeAllMemory { at: AT, most };
        let values = numbers.try_map(hog).collect(runtime).await.unwrap();
        for (n, value) in (0..).zip(values) {
            match value {
                Ok(value) => assert_eq!(value, n),
                Err(error) => assert_eq!((n, error.kind()), (AT, ErrorKind::Crash), "{error}"),
            }
        }
    })
    .await;
    assert_eq!(ended, 1);
    // Without control groups it has killed itself.
    let killed = workers.memory().map(MemoryLimit::killed);
    assert!(killed.is_none_or(|killed| killed >= 2), "the kernel killed {killed:?}");
}
