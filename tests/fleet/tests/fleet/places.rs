//! The same test in memory and on a fleet.

use std::ops::AsyncFn;

use phalanx::{Runtime, prelude::*};
use phalanx_fleet_tests::Triple;

use crate::{fleet::Fleet, soon};

/// Runs a test in memory, then on RabbitMQ with two workers.
///
/// Each time another job of the same runtime must still go on afterwards: what went wrong in the
/// test has harmed nobody else.
pub(crate) async fn everywhere(test: impl AsyncFn(&Runtime)) {
    let memory = Runtime::builder().url("memory://").slots(2).connect().await.unwrap();
    check(&memory, &test).await;
    memory.close().await;

    let (fleet, workers) = Fleet::with_workers(2).await;
    let runtime = fleet.lead().await;
    check(&runtime, &test).await;
    soon("to close", runtime.close()).await;
    fleet.end(workers).await;
}

async fn check(runtime: &Runtime, test: &impl AsyncFn(&Runtime)) {
    // The captured output of a test that fails then tells where it ran.
    #[expect(clippy::print_stdout, reason = "it is captured")]
    {
        println!("at {}", runtime.url());
    }
    // A job that stands beside the test all the time: its input goes on when the test is over.
    let (feed, input) = tokio::sync::mpsc::unbounded_channel();
    let input =
        futures::stream::unfold(input, async |mut input| Some((input.recv().await?, input)));
    let mut neighbour = IndexedStream::from_stream(input).map(Triple).run(runtime).await.unwrap();
    feed.send(1).unwrap();
    assert_eq!(soon("the neighbour's first", neighbour.next()).await.unwrap().unwrap(), (0, 3));

    soon("the test", test(runtime)).await;

    feed.send(2).unwrap();
    drop(feed);
    assert_eq!(soon("the neighbour's second", neighbour.next()).await.unwrap().unwrap(), (1, 6));
    assert!(soon("the neighbour's end", neighbour.next()).await.is_none());
    assert_usable(runtime).await;
}

/// Whether a runtime and its workers still do what they should.
pub(crate) async fn assert_usable(runtime: &Runtime) {
    let all = IndexedStream::from(0..100u64).map(Triple).collect(runtime);
    let all = soon("another job", all).await.unwrap();
    assert_eq!(all, (0..100).map(|n| 3 * n).collect::<Vec<_>>());
}
