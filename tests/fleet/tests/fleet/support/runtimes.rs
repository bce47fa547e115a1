//! The same test in memory and on a fleet.

use std::ops::AsyncFn;

use phalanx::{Runtime, prelude::*};
use phalanx_fleet_tests::Triple;
use phalanx_test_support::soon;

use super::Fleet;

/// Runs a test in memory, then on RabbitMQ with two workers.
///
/// During the test, another job of the same runtime is running. It must still make progress
/// afterwards: no failure in a test may affect another job.
pub(crate) async fn on_every_runtime(test: impl AsyncFn(&Runtime)) {
    let memory = Runtime::builder().url("memory://").slots(2).connect().await.unwrap();
    run_beside_another_job(&memory, &test).await;
    memory.close().await;

    let (fleet, workers) = Fleet::with_workers(2).await;
    let runtime = fleet.lead().await;
    run_beside_another_job(&runtime, &test).await;
    soon("the runtime to close", runtime.close()).await;
    fleet.end(workers).await;
}

async fn run_beside_another_job(runtime: &Runtime, test: &impl AsyncFn(&Runtime)) {
    #[expect(clippy::print_stdout, reason = "the output of a failed test shows where it ran")]
    {
        println!("runtime: {}", runtime.url());
    }
    let (feed, input) = tokio::sync::mpsc::unbounded_channel();
    let input =
        futures::stream::unfold(input, async |mut input| Some((input.recv().await?, input)));
    let mut other = IndexedStream::from_stream(input).map(Triple).run(runtime).await.unwrap();
    feed.send(1).unwrap();
    assert_eq!(soon("the other job's first result", other.next()).await.unwrap().unwrap(), (0, 3));

    soon("the test", test(runtime)).await;

    feed.send(2).unwrap();
    drop(feed);
    assert_eq!(soon("the other job's second result", other.next()).await.unwrap().unwrap(), (1, 6));
    assert!(soon("the other job's end", other.next()).await.is_none());
    assert_usable(runtime).await;
}

/// Fails unless the runtime and its workers still run a job.
pub(crate) async fn assert_usable(runtime: &Runtime) {
    let all = IndexedStream::from(0..100u64).map(Triple).collect(runtime);
    let all = soon("another job", all).await.unwrap();
    assert_eq!(all, (0..100).map(|n| 3 * n).collect::<Vec<_>>());
}
