//! Fresh fleets in which nothing dies.

use phalanx::{JobEvent, error::ReturnReason, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_support::soon;

use crate::support::Fleet;

/// Runs the elements on a fleet of three new workers; returns how many tasks came back as
/// redelivered.
async fn redelivered(program: impl FnOnce() -> IndexedStream<u64>) -> usize {
    let (fleet, workers) = Fleet::with_workers(3).await;
    let runtime = fleet.lead().await;
    let (job, count) = program().count().start(&runtime).unwrap();
    let mut events = job.events();
    let redelivered = async {
        let mut redelivered = 0;
        while let Some(event) = events.next().await {
            let reason = match event {
                JobEvent::TaskReturned { reason, .. } => reason,
                _ => continue,
            };
            redelivered += usize::from(reason == ReturnReason::Redelivered);
        }
        redelivered
    };
    let (redelivered, _) = soon("the job", async { tokio::join!(redelivered, count) }).await;
    runtime.close().await;
    fleet.end(workers).await;
    redelivered
}

/// Workers raise their prefetch for short tasks.
#[tokio::test]
async fn no_short_task_of_a_fresh_fleet_is_redelivered() {
    let short = || IndexedStream::from(0..20_000u64).map(Triple).batch(10);
    assert_eq!(redelivered(short).await, 0);
}

#[tokio::test]
async fn no_task_of_a_fresh_fleet_that_computes_for_a_while_is_redelivered() {
    let long = || IndexedStream::from(0..60u64).map(Dawdle { micros: 20_000 }).batch(1);
    assert_eq!(redelivered(long).await, 0);
}

/// Workers raise their prefetch for asynchronous tasks.
#[tokio::test]
async fn no_asynchronous_task_of_a_fresh_fleet_is_redelivered() {
    let waiting = || IndexedStream::from(0..600u64).map(DawdleLater { micros: 200_000 }).batch(1);
    assert_eq!(redelivered(waiting).await, 0);
}
