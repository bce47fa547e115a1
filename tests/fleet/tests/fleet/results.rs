//! Results are exact, in memory and on a fleet.

use phalanx::{Runtime, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_support::soon;

use crate::support::{Fleet, assert_usable, on_every_runtime};

#[tokio::test]
async fn each_directive_yields_what_plain_iterators_yield() {
    on_every_runtime(async |runtime: &Runtime| {
        let numbers = || IndexedStream::from(0..20_000u64);
        let triples: Vec<u64> = (0..20_000).map(|n| 3 * n).collect();
        assert_eq!(numbers().map(Triple).collect(runtime).await.unwrap(), triples);
        assert_eq!(numbers().map(TripleLater).collect(runtime).await.unwrap(), triples);

        let mut completed = numbers().map(Triple).run(runtime).await.unwrap();
        let mut found = vec![None; 20_000];
        while let Some(item) = completed.next().await {
            let (index, value) = item.unwrap();
            assert!(
                found[index as usize].replace(value).is_none(),
                "element {index} has two results"
            );
        }
        assert_eq!(found.into_iter().map(Option::unwrap).collect::<Vec<_>>(), triples);

        let words: String = (0..20_000).map(|n| format!("{n},")).collect();
        let folded = numbers().map(Word).fold(Concatenate).run(runtime).await.unwrap();
        assert!(folded == words, "the words are in another order");

        let chain = numbers().flat_map(Spread).filter(IsOdd).map(Triple);
        let expected: Vec<u64> = (0..20_000u64)
            .flat_map(|n| (0..n % 4).map(move |copy| 10 * n + copy))
            .filter(|n| n % 2 == 1)
            .map(|n| 3 * n)
            .collect();
        assert_eq!(chain.collect(runtime).await.unwrap(), expected);
        let chain = || numbers().flat_map(Spread).filter(IsOdd);
        assert_eq!(chain().count().run(runtime).await.unwrap(), expected.len() as u64);
        let first = chain().map(Triple).first().run(runtime).await.unwrap();
        assert_eq!(first.as_ref(), expected.first());
        let few = chain().map(Triple).take(10).collect(runtime).await.unwrap();
        assert_eq!(few, expected[..10]);

        let sum = numbers().reduce(Add).run(runtime).await.unwrap();
        assert_eq!(sum, Some((0..20_000).sum()));
        let sum = numbers().fold(Sum).deterministic().run(runtime).await.unwrap();
        assert_eq!(sum, (0..20_000).sum::<u64>());
    })
    .await;
}

#[tokio::test]
async fn tasks_of_one_element_yield_the_same_results() {
    on_every_runtime(async |runtime: &Runtime| {
        let all = IndexedStream::from(0..500u64).map(Triple).batch(1).collect(runtime).await;
        assert_eq!(all.unwrap(), (0..500).map(|n| 3 * n).collect::<Vec<_>>());
        let words = IndexedStream::from(0..500u64).map(Word).batch(1).fold(Concatenate);
        let expected: String = (0..500).map(|n| format!("{n},")).collect();
        assert_eq!(words.run(runtime).await.unwrap(), expected);
    })
    .await;
}

#[tokio::test]
async fn a_stage_in_another_pool_runs_on_the_workers_of_that_pool() {
    let fleet = Fleet::new();
    let mut workers = vec![fleet.worker(&[]), fleet.worker(&["--pool", "other"])];
    for worker in &mut workers {
        worker.started().await;
    }
    let runtime = fleet.lead().await;
    let there_and_back =
        IndexedStream::from(0..5_000u64).map(Triple).map(AddElsewhere).flat_map(Spread);
    assert_eq!(there_and_back.explain().unwrap().matches("stage").count(), 3);
    let expected: Vec<u64> = (0..5_000u64)
        .map(|n| 3 * n + 1)
        .flat_map(|n| (0..n % 4).map(move |c| 10 * n + c))
        .collect();
    let all = soon("all stages", there_and_back.collect(&runtime)).await.unwrap();
    assert_eq!(all, expected);
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_job_whose_results_are_not_read_blocks_no_other_job() {
    on_every_runtime(async |runtime: &Runtime| {
        // More bytes than a job may hold undelivered.
        let unread = IndexedStream::from(std::iter::repeat_n(100_000u64, 2_000)).map(Inflate);
        let (job, mut unread) = unread.start(runtime).unwrap();
        let mut progress = job.progress();
        progress.wait_for(|progress| progress.done > 100).await.unwrap();
        let others = (0..3).map(|_| assert_usable(runtime));
        soon("the other jobs", futures::future::join_all(others)).await;
        let mut count = 0;
        while let Some(item) = soon("the next result", unread.next()).await {
            assert_eq!(item.unwrap().1.len(), 100_000);
            count += 1;
        }
        assert_eq!(count, 2_000);
    })
    .await;
}
