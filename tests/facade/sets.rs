//! Directives that compare, sample and number whole elements, on workers in memory, beside the
//! obvious programs over `std` collections.

use std::collections::{BTreeSet, HashSet};

use phalanx::{PlanError, operation::Data, prelude::*};
use phalanx_test_support::soon;

#[operation]
fn digits(n: &u64) -> Vec<u64> {
    n.to_string().bytes().map(|digit| u64::from(digit - b'0')).collect()
}

#[operation]
fn double(n: u64) -> u64 {
    2 * n
}

#[operation]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

async fn runtime() -> Runtime {
    runtime_of(2).await
}

async fn runtime_of(slots: usize) -> Runtime {
    Runtime::builder().url("memory://").slots(slots).connect().await.unwrap()
}

async fn all<T: Data>(stream: IndexedStream<T>, runtime: &Runtime) -> Vec<T> {
    soon("the elements", stream.collect(runtime)).await.unwrap()
}

async fn sorted<T: Data + Ord>(stream: IndexedStream<T>, runtime: &Runtime) -> Vec<T> {
    let mut elements = all(stream, runtime).await;
    elements.sort();
    elements
}

/// Numbers of which many are equal.
fn squares(count: u64) -> impl Iterator<Item = u64> + Send + 'static {
    (0..count).map(|n| n * n % 97)
}

#[tokio::test]
async fn an_intersection_has_each_common_element_once() {
    let runtime = runtime().await;
    for (ours, theirs) in [(900, 500), (900, 0), (0, 500), (40, 7)] {
        let expected: BTreeSet<u64> = squares(ours).collect();
        let other: BTreeSet<u64> = squares(theirs).map(|n| 2 * n).collect();
        let first = IndexedStream::from(squares(ours)).batch(9);
        let second = IndexedStream::from(squares(theirs)).batch(7).map(Double);
        let common = sorted(first.intersection(second), &runtime).await;
        assert_eq!(common, expected.intersection(&other).copied().collect::<Vec<_>>());
    }
    runtime.close().await;
}

#[tokio::test]
async fn a_subtraction_keeps_equal_elements() {
    let runtime = runtime().await;
    for (ours, theirs) in [(900, 500), (900, 0), (0, 500), (40, 7)] {
        let other: HashSet<u64> = squares(theirs).map(|n| 2 * n).collect();
        let mut expected: Vec<u64> = squares(ours).filter(|n| !other.contains(n)).collect();
        expected.sort_unstable();
        let first = || IndexedStream::from(squares(ours)).batch(9);
        let second = || IndexedStream::from(squares(theirs)).batch(7).map(Double);
        assert_eq!(sorted(first().subtract(second()), &runtime).await, expected);
        expected.dedup();
        assert_eq!(sorted(first().subtract(second()).distinct(), &runtime).await, expected);
    }
    runtime.close().await;
}

#[tokio::test]
async fn keys_are_found_in_pairs_that_were_compared_as_a_whole() {
    let runtime = runtime().await;
    let pairs = |count: u64| IndexedStream::from((0..count).map(|n| (n % 30, n % 7)));
    let distinct: BTreeSet<(u64, u64)> = (0..100).map(|n| (n % 30, n % 7)).collect();
    let sum = |ours: &BTreeSet<(u64, u64)>| {
        let mut sums = std::collections::BTreeMap::<u64, u64>::new();
        ours.iter().for_each(|(key, n)| *sums.entry(*key).or_default() += n);
        sums.into_iter().collect::<Vec<_>>()
    };
    let common: BTreeSet<_> =
        (0..40).map(|n| (n % 30, n % 7)).filter(|it| distinct.contains(it)).collect();
    let rest: BTreeSet<_> = distinct.difference(&common).copied().collect();
    // In another exchange, and in steps that look at keys or values alone.
    let both = || pairs(100).intersection(pairs(40));
    assert_eq!(sorted(both().reduce_by_key(Add), &runtime).await, sum(&common));
    let left = || pairs(100).distinct().subtract(pairs(40));
    assert_eq!(sorted(left().reduce_by_key(Add), &runtime).await, sum(&rest));
    let mut keys: Vec<u64> = common.iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    assert_eq!(sorted(both().keys(), &runtime).await, keys);
    let doubled: Vec<_> = rest.iter().map(|(key, n)| (*key, 2 * n)).collect();
    assert_eq!(sorted(left().map_values(Double), &runtime).await, doubled);
    let mut keys: Vec<u64> = distinct.iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    assert_eq!(sorted(pairs(100).distinct().keys(), &runtime).await, keys);
    // As wholes again, twice.
    let again = both().intersection(pairs(30)).subtract(pairs(3)).keys();
    assert_eq!(sorted(again, &runtime).await, (3..30).collect::<Vec<_>>());
    runtime.close().await;
}

#[test]
fn explain_shows_what_is_compared() {
    let numbers = || IndexedStream::from(0..10u64).map(Double);
    let text = numbers().intersection(numbers()).explain().unwrap();
    let line = "exchange intersection of the outputs of stage 0 with those of stage 1, by the whole \
                element, combined before they travel, partitions by the number of slots\n";
    assert!(text.contains(line), "{text}");
    let text = numbers().subtract(numbers()).partitions(3).explain().unwrap();
    let line = "exchange subtract of the outputs of stage 0 with those of stage 1, by the whole \
                element, 3 partitions\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn an_endless_stream_cannot_be_compared() {
    let endless = || IndexedStream::from((0..u64::MAX).chain(0..));
    let error = IndexedStream::from([1]).subtract(endless()).explain().unwrap_err();
    assert!(matches!(error, PlanError::Endless { directive: "subtract" }), "{error}");
}
