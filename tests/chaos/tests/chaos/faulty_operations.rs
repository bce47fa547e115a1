//! Operations that fail at one element: the failure names it, and no other element is lost, neither
//! in its batch nor in another job.

use std::{ops::AsyncFn, time::Duration};

use phalanx::{
    Error, Runtime,
    error::{ErrorKind, ExecuteError},
    prelude::*,
};
use phalanx_chaos::{MemoryLimit, Workers, faulty_operations::*};
use phalanx_test_support::test_url;

/// The elements of a job, and the one that fails. Batches are large, so that most share its batch.
const COUNT: u64 = 300;
const AT: u64 = 137;
/// Longer than any of these jobs takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs a test on a fleet of two workers, while another job runs. Returns how many workers ended by
/// themselves.
async fn on_a_fleet(test: impl AsyncFn(&Runtime)) -> usize {
    let workers = Workers::start(env!("CARGO_BIN_EXE_chaos").into(), test_url(), 2).await.unwrap();
    on_these(&workers, test).await
}

async fn on_these(workers: &Workers, test: impl AsyncFn(&Runtime)) -> usize {
    let builder = Runtime::builder().url(test_url()).namespace(workers.namespace());
    let runtime = builder.connect().await.unwrap();
    let other_job = IndexedStream::from(0..COUNT).map(Fail { at: u64::MAX }).batch(1);
    let (_job, other_job) = other_job.count().start(&runtime).unwrap();
    tokio::time::timeout(PATIENCE, test(&runtime)).await.expect("the jobs hang");
    assert_eq!(other_job.await.unwrap(), COUNT);
    runtime.close().await;
    workers.end().await;
    workers.remove_namespace().await.unwrap();
    workers.report().problems().len()
}

fn numbers() -> IndexedStream<u64> {
    IndexedStream::from(0..COUNT).batch(100)
}

fn all_but_one() -> Vec<u64> {
    (0..COUNT).filter(|n| *n != AT).collect()
}

/// The failure of a job, which must be that of the faulty element.
fn failure_of(error: Error) -> ExecuteError {
    let Error::Execute(failure) = error else { panic!("{error:?}") };
    assert_eq!(failure.index, AT, "{failure:?}");
    *failure
}

/// The faulty element fails the job, is skipped or becomes a value.
macro_rules! fails_alone {
    ($runtime:expr, $operation:ident $({ $($state:tt)* })?, $kind:pat, $text:expr) => {{
        let operation = || $operation { at: AT, $($($state)*)? };
        let failing = || numbers().map(operation());
        let failure = failure_of(failing().collect($runtime).await.unwrap_err());
        assert!(matches!(failure.error.kind(), $kind), "{failure:?}");
        assert!(failure.error.to_string().contains($text), "{failure:?}");
        assert!(failure.operation.ends_with(stringify!($operation)), "{failure:?}");
        let rest = failing().on_failure(OnFailure::Skip).collect($runtime).await.unwrap();
        assert_eq!(rest, all_but_one());
        let values = numbers().try_map(operation()).collect($runtime).await.unwrap();
        let failed = values.iter().enumerate().filter(|(_, value)| value.is_err());
        assert_eq!(failed.map(|(index, _)| index as u64).collect::<Vec<_>>(), [AT]);
    }};
}

#[tokio::test]
async fn errors_and_panics_of_any_kind_fail_one_element() {
    let ended = on_a_fleet(async |runtime: &Runtime| {
        fails_alone!(runtime, Fail, ErrorKind::Fatal, "permanent failure");
        fails_alone!(runtime, FailTransiently, ErrorKind::Transient, "transient failure");
        fails_alone!(runtime, PanicWithANumber, ErrorKind::Panic, "a value that is not a string");
        fails_alone!(runtime, PanicInDrop, ErrorKind::Panic, "panic in drop");
        fails_alone!(
            runtime,
            PanicWithAPanickingValue,
            ErrorKind::Panic,
            "a value that is not a string"
        );
    })
    .await;
    assert_eq!(ended, 0, "an error or a panic ends no worker");
}

#[tokio::test]
async fn an_output_that_fails_to_serialize_fails_alone() {
    let ended = on_a_fleet(async |runtime: &Runtime| {
        let unserializable = || numbers().map(ReturnUnserializable { at: AT });
        let failure = failure_of(unserializable().collect(runtime).await.unwrap_err());
        assert!(failure.error.to_string().contains("does not serialize"), "{failure:?}");
        let rest = unserializable().on_failure(OnFailure::Skip).collect(runtime).await.unwrap();
        assert_eq!(rest.into_iter().map(|output| output.number).collect::<Vec<_>>(), all_but_one());
    })
    .await;
    assert_eq!(ended, 0);
}

/// A worker that can decode an element runs it; one that cannot reports it.
#[tokio::test]
async fn an_input_that_only_some_workers_can_decode_affects_no_other_element() {
    let ended = on_a_fleet(async |runtime: &Runtime| {
        let inputs = IndexedStream::from((0..COUNT).map(DecodableOnSome)).batch(20).map(TakeIn);
        let values = inputs.on_failure(OnFailure::Skip).collect(runtime).await.unwrap();
        let decodable: Vec<u64> = (0..COUNT).filter(|n| n % 10 != 0).collect();
        let found: Vec<u64> = values.into_iter().filter(|n| n % 10 != 0).collect();
        assert_eq!(found, decodable);
        let inputs = IndexedStream::from((0..COUNT).map(DecodableOnSome)).batch(20).try_map(TakeIn);
        for (n, value) in (0..).zip(inputs.collect(runtime).await.unwrap()) {
            match value {
                Ok(value) => assert_eq!(value, n),
                Err(failure) => {
                    let kind = failure.error.kind();
                    assert_eq!((n % 10, kind), (0, ErrorKind::Codec), "{n}: {failure}");
                }
            }
        }
    })
    .await;
    assert_eq!(ended, 0);
}

/// Its thread is abandoned. A worker that has abandoned a thread for each of its two slots drains.
/// Each of the three jobs runs the element once, and again if its copy seems to be lost.
#[tokio::test]
async fn an_operation_that_never_returns_fails_one_element() {
    let folder = tempfile::tempdir().unwrap();
    let victims = Victims::in_file(folder.path().join("victims"));
    let ended = on_a_fleet(async |runtime: &Runtime| {
        fails_alone!(runtime, NeverReturn { victims: victims.clone() }, ErrorKind::Timeout, "");
    })
    .await;
    let (threads, children) = (victims.workers(), victims.children());
    assert!(threads + children >= 3, "{threads} runs in workers, and {children} in children");
    assert!(ended <= threads / 2, "{threads} abandoned threads ended {ended} workers");
}

/// Runs a test whose operation ends its process, on a fleet of two workers.
///
/// At most one worker runs the element itself and dies. All other runs of the element are isolated,
/// in child processes. (If the broker redelivers the first copy although its worker is alive, the
/// first run is isolated, too, and no worker dies.)
async fn on_a_fleet_that_loses_at_most_one_worker(
    memory: Option<MemoryLimit>,
    test: impl AsyncFn(&Runtime, &Victims),
) -> Workers {
    let folder = tempfile::tempdir().unwrap();
    let victims = Victims::in_file(folder.path().join("victims"));
    let program = env!("CARGO_BIN_EXE_chaos").into();
    let workers = Workers::within(memory, program, test_url(), 2).await.unwrap();
    let ended = on_these(&workers, async |runtime: &Runtime| {
        test(runtime, &victims).await;
        // A worker that was too busy to renew its lease can still be about to die when the job has
        // ended without it.
        while workers.report().problems().len() < victims.workers() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(victims.workers() <= 1, "{} workers ran the element", victims.workers());
    assert_eq!(ended, victims.workers(), "{}", workers.report());
    assert!(victims.children() >= 1, "no child process ran the element");
    workers
}

#[tokio::test]
async fn an_element_that_crashes_its_process_takes_down_one_worker_and_is_reported() {
    on_a_fleet_that_loses_at_most_one_worker(None, async |runtime: &Runtime, victims: &Victims| {
        let aborting = numbers().map(Abort { at: AT, victims: victims.clone() });
        let rest = aborting.on_failure(OnFailure::Skip).collect(runtime).await.unwrap();
        assert_eq!(rest, all_but_one());
    })
    .await;
    on_a_fleet_that_loses_at_most_one_worker(None, async |runtime: &Runtime, victims: &Victims| {
        let overflowing = numbers().map(Overflow { at: AT, victims: victims.clone() });
        let failure = failure_of(overflowing.collect(runtime).await.unwrap_err());
        assert_eq!(failure.error.kind(), ErrorKind::Crash, "{failure:?}");
        assert!(failure.operation.ends_with("Overflow"), "{failure:?}");
    })
    .await;
}

/// The kernel kills the process that runs the element: first a worker, then a child of another
/// worker.
#[tokio::test]
async fn an_element_that_exhausts_memory_takes_down_one_worker_and_is_reported() {
    const LIMIT: u64 = 256 << 20;
    const BATCH: u32 = 5_000;
    let memory = MemoryLimit::new(LIMIT);
    // Without a limit, the operation kills itself at once instead of using up the machine's memory.
    let most = if memory.is_some() { 2 * LIMIT } else { 0 };
    let test = async |runtime: &Runtime, victims: &Victims| {
        // All elements are in one batch.
        let numbers = IndexedStream::from(0..u64::from(BATCH)).batch(BATCH);
        let hog = TakeAllMemory { at: AT, most, victims: victims.clone() };
        let values = numbers.try_map(hog).collect(runtime).await.unwrap();
        assert_eq!(values.len(), BATCH as usize);
        for (n, value) in (0..).zip(values) {
            match value {
                Ok(value) => assert_eq!(value, n),
                Err(failure) => {
                    assert_eq!((n, failure.error.kind()), (AT, ErrorKind::Crash), "{failure}");
                }
            }
        }
    };
    let workers = on_a_fleet_that_loses_at_most_one_worker(memory, test).await;
    let killed = workers.memory().map(MemoryLimit::killed);
    assert!(killed.is_none_or(|killed| killed >= 2), "the kernel killed {killed:?}");
}
