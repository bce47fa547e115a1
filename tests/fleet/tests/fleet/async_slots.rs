//! Asynchronous elements have slots of their own.

use futures::TryStreamExt;
use phalanx::{Runtime, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_support::soon;
use rustix::process::Signal;

use crate::support::{Fleet, Rendezvous, on_every_runtime};

#[tokio::test]
async fn asynchronous_elements_wait_in_parallel_beyond_the_number_of_slots() {
    let (fleet, workers) = Fleet::with_workers(1).await;
    let runtime = fleet.lead().await;
    let rendezvous = Rendezvous::new();
    let held = IndexedStream::from(0..200u64).map(HoldLater { directory: rendezvous.directory() });
    let (_job, results) = held.ordered().start(&runtime).unwrap();
    rendezvous.started(200).await;
    rendezvous.release();
    let values: Vec<u64> =
        soon("all", results.map_ok(|(_, value)| value).try_collect()).await.unwrap();
    assert_eq!(values, (0..200).map(|n| 3 * n).collect::<Vec<_>>());
    runtime.close().await;
    fleet.end(workers).await;
}

/// Asynchronous elements have separate slots and credit.
#[tokio::test]
async fn waiting_asynchronous_elements_take_no_slot_from_blocking_ones() {
    on_every_runtime(async |runtime: &Runtime| {
        let (waiting, computing) = (Rendezvous::new(), Rendezvous::new());
        let many = IndexedStream::from(0..100u64).map(HoldLater { directory: waiting.directory() });
        let many = many.count().start(runtime).unwrap().1;
        waiting.started(100).await;
        let two = IndexedStream::from(0..2u64).map(Hold { directory: computing.directory() });
        let two = two.batch(1).count().start(runtime).unwrap().1;
        computing.started(2).await;
        computing.release();
        assert_eq!(two.await.unwrap(), 2);
        waiting.release();
        assert_eq!(many.await.unwrap(), 100);
    })
    .await;
}

/// They run in a child process then, but still take no slot of those that compute.
#[tokio::test]
async fn asynchronous_elements_of_a_killed_worker_run_side_by_side_beside_those_that_compute() {
    let (fleet, mut workers) = Fleet::with_workers(2).await;
    let runtime = fleet.lead().await;
    let waiting = Rendezvous::new();
    let held = IndexedStream::from(0..40u64).map(HoldLater { directory: waiting.directory() });
    let held = held.batch(1).count().start(&runtime).unwrap().1;
    waiting.started(40).await;
    let killed = workers.remove(0);
    waiting.started_in(&killed.id()).await;
    let id = killed.id();
    killed.signal(Signal::KILL);
    waiting.restarted_from(&id).await;
    let triples = IndexedStream::from(0..100u64).map(Triple).batch(1).collect(&runtime);
    assert_eq!(soon("the computing job", triples).await.unwrap()[99], 297);
    waiting.release();
    assert_eq!(soon("the waiting job", held).await.unwrap(), 40);
    runtime.close().await;
    workers.push(killed);
    fleet.end(workers).await;
}
