//! Directives by key, in memory and on a fleet.

use std::collections::BTreeMap;

use phalanx::{JobEvent, Runtime, operation::ErrorKind, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_node::NodeOptions;
use phalanx_test_support::soon;

use crate::support::{Fleet, Rendezvous, on_every_runtime, start_node, with_node};

#[tokio::test]
async fn directives_by_key_have_the_same_results_everywhere() {
    on_every_runtime(async |runtime: &Runtime| {
        let numbers = || IndexedStream::from(0..2_000u64).map(Triple).map(Keyed);
        let sums = numbers().reduce_by_key(Add).collect(runtime).await.unwrap();
        let mut expected = BTreeMap::<u64, u64>::new();
        (0..2_000u64).map(|n| 3 * n).for_each(|n| *expected.entry(n % 13).or_default() += n);
        assert_eq!(sums.len(), expected.len());
        assert_eq!(BTreeMap::from_iter(sums), expected);
        let groups = numbers().group_by_key().collect(runtime).await.unwrap();
        let in_order = |values: &Vec<u64>| values.is_sorted();
        assert!(groups.len() == 13 && groups.iter().all(|(_, values)| in_order(values)));
        let joined = numbers().join(IndexedStream::from((0..5u64).map(|n| (n, n))));
        let expected = (0..2_000u64).filter(|n| 3 * n % 13 < 5).count();
        assert_eq!(joined.count().run(runtime).await.unwrap(), expected as u64);
        // Out of operations that wait, into operations that wait.
        let later = numbers().values().map(TripleLater).distinct().map(TripleLater);
        assert_eq!(later.count().run(runtime).await.unwrap(), 2_000);
    })
    .await;
}

#[tokio::test]
async fn an_exchange_between_two_pools_is_written_in_one_and_read_in_the_other() {
    let fleet = Fleet::new();
    let mut workers = vec![fleet.worker(&[]), fleet.worker(&["--pool", "other"])];
    for worker in &mut workers {
        worker.started().await;
    }
    let runtime = fleet.lead().await;
    let there_and_back = IndexedStream::from(0..2_000u64)
        .map(Triple)
        .distinct()
        .map(AddElsewhere)
        .distinct()
        .map(Triple);
    let mut all = soon("all outputs", there_and_back.collect(&runtime)).await.unwrap();
    all.sort_unstable();
    assert_eq!(all, (0..2_000).map(|n| 3 * (3 * n + 1)).collect::<Vec<_>>());
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn an_exchange_of_more_than_its_leader_may_hold_goes_through_queues() {
    let (fleet, workers) = Fleet::with_workers(2).await;
    let runtime = fleet.lead().await;
    let large = |count: u64| {
        let blobs = (0..count).map(|n| (n, vec![n as u8; 100 << 10]));
        IndexedStream::from(blobs).group_by_key().keys()
    };
    for (count, is_spread) in [(10, false), (800, true)] {
        let (job, results) = large(count).start(&runtime).unwrap();
        let keys = soon("the keys", results.collect()).await.unwrap();
        let mut keys: Vec<u64> = keys.into_iter().map(|(_, key)| key).collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..count).collect::<Vec<_>>());
        let exchange = job.progress().borrow().exchanges[0];
        assert_eq!(exchange.queues > 0, is_spread, "{exchange}");
    }
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn the_seal_of_an_exchange_is_an_event_with_its_numbers() {
    let (fleet, workers) = Fleet::with_workers(1).await;
    let runtime = fleet.lead().await;
    let counts = IndexedStream::from(0..100u64).batch(50).map(Keyed).count_by_key().partitions(4);
    let (job, results) = counts.start(&runtime).unwrap();
    let mut events = job.events();
    assert_eq!(soon("the counts", results.collect()).await.unwrap().len(), 13);
    let exchange = loop {
        match events.next().await.expect("an event") {
            JobEvent::ExchangeSealed { exchange, .. } => break exchange,
            _ => continue,
        }
    };
    let (directive, partitions) = (exchange.directive, exchange.partitions);
    assert_eq!((directive, partitions, exchange.sealed), ("count_by_key", 4, true));
    // Each task has counted before its keys travelled.
    assert!((13..=26).contains(&exchange.rows), "{exchange:?}");
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_broker_that_restarts_between_the_seal_of_an_exchange_and_its_reading_costs_no_row() {
    let node = start_node(NodeOptions::new()).await;
    let fleet = Fleet::at(node.url());
    let mut writer = fleet.worker(&[]);
    writer.started().await;
    let runtime = fleet.lead().await;
    // No worker serves the pool of the stage that reads the exchange.
    let totals = IndexedStream::from(0..10_000u64).map(Keyed).group_by_key();
    let (job, results) = totals.map_values(TotalElsewhere).start(&runtime).unwrap();
    let mut events = job.events();
    let sealed = async {
        loop {
            match events.next().await.expect("the job waits for a worker") {
                JobEvent::ExchangeSealed { exchange, .. } => break exchange,
                _ => continue,
            }
        }
    };
    assert_eq!(soon("the seal", sealed).await.rows, 10_000);
    let (_node, ()) = with_node(node, |node| node.restart().unwrap()).await;
    let mut reader = fleet.worker(&["--pool", "other"]);
    reader.started().await;
    let totals = soon("the totals", results.collect()).await.unwrap();
    let mut expected = BTreeMap::<u64, u64>::new();
    (0..10_000u64).for_each(|n| *expected.entry(n % 13).or_default() += n);
    let totals: Vec<(u64, u64)> = totals.into_iter().map(|(_, total)| total).collect();
    assert_eq!(totals.len(), expected.len(), "each key has one total");
    assert_eq!(BTreeMap::from_iter(totals), expected);
    runtime.close().await;
    fleet.end(vec![writer, reader]).await;
}

/// In the middle of a task that feeds an exchange, its worker has a table of combined values and no
/// block; in the middle of one that reads it, a list whose length nobody knows.
#[tokio::test]
async fn workers_that_die_in_the_middle_of_feeding_and_of_reading_tasks_cost_no_row() {
    const NUMBERS: u64 = 1_000;
    const NONE: u64 = u64::MAX;
    for (feeding, reading) in [(NUMBERS / 2 + 50, NONE), (NONE, packed((6, 77)))] {
        let (fleet, mut workers) = Fleet::with_workers(2).await;
        let runtime = fleet.lead().await;
        let held = Rendezvous::new();
        let hold = |at| HoldAt { directory: held.directory(), at };
        let numbers = IndexedStream::from(0..NUMBERS).batch(NUMBERS as u32 / 4).map(hold(feeding));
        let counts = numbers.map(Keyed).count_by_key().partitions(4);
        let (_job, results) = counts.map(Packed).map(hold(reading)).start(&runtime).unwrap();
        held.started(1).await;
        fleet.kill_and_replace(&mut workers).await;
        held.release();
        let counts = soon("the counts", results.collect()).await.unwrap();
        let mut counts: Vec<u64> = counts.into_iter().map(|(_, count)| count).collect();
        counts.sort_unstable();
        let mut expected = BTreeMap::<u64, u64>::new();
        (0..NUMBERS).for_each(|n| *expected.entry(n % 13).or_default() += 1);
        let mut expected: Vec<u64> = expected.into_iter().map(packed).collect();
        expected.sort_unstable();
        assert_eq!(counts, expected);
        runtime.close().await;
        fleet.end(workers).await;
    }
}

/// First a worker dies of it, then the children of other workers.
#[tokio::test]
async fn an_element_that_crashes_its_process_before_an_exchange_is_left_out_alone() {
    let (fleet, mut workers) = Fleet::with_workers(3).await;
    let runtime = fleet.lead().await;
    let perish = Perish { how: "abort".to_owned(), unwanted: 600 };
    let numbers = IndexedStream::from(0..1_000u64).batch(250).map(perish);
    let sums = numbers.on_failure(OnFailure::Skip).map(Keyed).reduce_by_key(Add);
    let sums = soon("the sums", sums.collect(&runtime)).await.unwrap();
    let mut expected = BTreeMap::<u64, u64>::new();
    let others = (0..1_000u64).filter(|n| *n != 600);
    others.for_each(|n| *expected.entry(n % 13).or_default() += n);
    assert_eq!(sums.len(), expected.len());
    assert_eq!(BTreeMap::from_iter(sums), expected);
    let ended = fleet.replace_ended(&mut workers).await;
    assert!(ended <= 1, "it ended {ended} workers");
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_group_that_crashes_its_process_costs_one_worker_and_is_named_by_its_key() {
    let (fleet, mut workers) = Fleet::with_workers(3).await;
    let runtime = fleet.lead().await;
    let perish = Perish { how: "abort".to_owned(), unwanted: 60 };
    let numbers = IndexedStream::from(0..1_000u64).map(Triple).distinct().map(perish);
    let (job, results) = numbers.on_failure(OnFailure::Skip).start(&runtime).unwrap();
    let mut events = job.events();
    assert_eq!(soon("the other numbers", results.collect()).await.unwrap().len(), 999);
    let mut skipped = Vec::new();
    while let Some(event) = events.next().await {
        if let JobEvent::ElementSkipped { group, error, .. } = event {
            let key = group.and_then(|group| group.key).expect("it has a key");
            skipped.push((key.bytes().to_vec(), error.kind()));
        }
    }
    assert_eq!(skipped, [(vec![60], ErrorKind::Crash)]);
    let ended = fleet.replace_ended(&mut workers).await;
    assert!(ended <= 1, "it ended {ended} workers");
    runtime.close().await;
    fleet.end(workers).await;
}
