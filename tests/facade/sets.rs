//! Directives that compare, sample and number whole elements, on workers in memory, beside the
//! obvious programs over `std` collections.

use std::collections::{BTreeSet, HashSet};

use phalanx::{Error, PlanError, broker::Pool, operation::Data, prelude::*};
use phalanx_test_support::{soon, until};

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

#[operation]
async fn double_later(n: u64) -> u64 {
    tokio::task::yield_now().await;
    2 * n
}

#[operation]
fn stumble(n: u64, cx: &TaskContext) -> Result<u64> {
    if cx.tries() == 1 && n.is_multiple_of(7) {
        return Err(OperationError::fatal("stumbled").transient());
    }
    Ok(n)
}

#[operation]
fn copies(count: u64) -> Vec<u64> {
    vec![count; count as usize]
}

#[operation]
fn modulo(n: u64) -> (u64, u64) {
    (n % 500, n)
}

#[tokio::test]
async fn a_sample_has_the_same_elements_however_tasks_are_cut_and_retried() {
    let runtimes = [runtime_of(1).await, runtime_of(20).await];
    let numbers = |batch: u32| IndexedStream::from((0..3_000u64).map(|n| n % 10)).batch(batch);
    let mut seen = HashSet::new();
    for (runtime, batch) in runtimes.iter().zip([7, 500]) {
        let direct = numbers(batch).sample(0.3, 5);
        let indexes = soon("the results", direct.run(runtime).await.unwrap().collect()).await;
        let mut indexes: Vec<(u64, u64)> = indexes.unwrap();
        indexes.sort_unstable();
        assert!(indexes.iter().all(|(index, n)| index % 10 == *n));
        assert!((800..1_000).contains(&indexes.len()), "{} of 3000", indexes.len());
        // Between steps of any kind, and through the leader.
        let retried = numbers(batch).map(Stumble).sample(0.3, 5);
        let expected: Vec<u64> = indexes.iter().map(|(_, n)| *n).collect();
        assert_eq!(all(retried, runtime).await, expected);
        let later = numbers(batch).map(DoubleLater).sample(0.5, 5).map(DoubleLater);
        let there = numbers(batch).flat_map(Digits).map(Double).pool("there").sample(0.5, 5);
        // Behind exchanges, whose values are mostly equal.
        let keyed = numbers(batch).map(Modulo).count_by_key();
        let pairs = || IndexedStream::from(0..4_000u64).batch(batch).map(Modulo);
        let counts = pairs().count_by_key().values().sample(0.5, 5);
        let summed = pairs().reduce_by_key(Add).sample(0.5, 5).swap().distinct().swap();
        let before = pairs().sample(0.5, 5).reduce_by_key(Add).join(keyed);
        let counts_kept = all(counts, runtime).await.len();
        assert!((200..300).contains(&counts_kept), "{counts_kept} of 500 equal ones");
        seen.insert((
            indexes,
            all(later, runtime).await,
            all(there, runtime).await,
            counts_kept,
            sorted(summed, runtime).await,
            sorted(before, runtime).await,
        ));
    }
    assert_eq!(seen.len(), 1, "each run keeps the same");
    for runtime in runtimes {
        runtime.close().await;
    }
}

#[tokio::test]
async fn equal_elements_of_several_sources_or_one_element_are_sampled_independently() {
    let runtime = runtime().await;
    let zeros = || IndexedStream::from(std::iter::repeat_n(0u64, 1_000));
    let of_one = all(zeros().sample(0.5, 9), &runtime).await.len();
    let of_two = all(zeros().union(zeros()).sample(0.5, 9), &runtime).await.len();
    assert!((400..600).contains(&(of_two - of_one)) && of_two != 2 * of_one, "{of_one}, {of_two}");
    let copies = IndexedStream::from([1_000]).flat_map(Copies).sample(0.5, 9);
    let of_copies = all(copies, &runtime).await.len();
    assert!((400..600).contains(&of_copies), "{of_copies} of 1000 with one index");
    let every = zeros().sample(1.0, 9).count().run(&runtime);
    assert_eq!(soon("a count", every).await.unwrap(), 1_000);
    let sum = IndexedStream::from(0..100u64).sample(0.0, 9).reduce(Add).run(&runtime);
    assert_eq!(soon("a sum", sum).await.unwrap(), None);
    runtime.close().await;
}

#[operation]
fn refuse(n: u64) -> Result<u64> {
    phalanx::bail!("{n} is refused")
}

#[tokio::test]
async fn a_replayed_element_passes_a_sample_as_it_did_in_its_job() {
    const SEED: u64 = 8;
    let runtime = runtime().await;
    let threes = || IndexedStream::from(std::iter::repeat_n(3u64, 60));
    let skipping = threes().sample(0.5, SEED).map(Refuse).on_failure(OnFailure::Skip);
    assert!(all(skipping, &runtime).await.is_empty());
    let indexed = threes().sample(0.5, SEED).run(&runtime).await.unwrap().collect();
    let indexed: Vec<(u64, u64)> = soon("the sample", indexed).await.unwrap();
    assert!(indexed.iter().all(|(index, _)| *index > 0), "the only index in a replay");
    let kept = indexed.len();
    let letters = runtime.dead_letters(&Pool::default());
    until("all dead letters", async || letters.list(99).await.unwrap().len() == kept).await;
    for letter in letters.list(99).await.unwrap() {
        soon("a failure", letters.replay(letter.id())).await.unwrap_err();
    }
    runtime.close().await;
}

#[test]
fn a_sample_of_no_fraction_is_a_mistake_and_a_plan_shows_the_seed() {
    for fraction in [-0.5, 1.5, f64::NAN] {
        let error = IndexedStream::from([1]).sample(fraction, 0).explain().unwrap_err();
        assert!(matches!(error, PlanError::Fraction { .. }), "{error}");
        assert!(error.to_string().contains("between 0 and 1"), "{error}");
    }
    let error = IndexedStream::from([1]).map(Double).take(1).sample(0.5, 0).explain().unwrap_err();
    assert!(matches!(error, PlanError::AfterTake { directive: "sample" }), "{error}");
    let pairs = IndexedStream::from([(1u64, 2u64)]).reduce_by_key(Add).sample(0.25, 7);
    let text = pairs.explain().unwrap();
    assert!(text.contains("           sample   fraction 0.25, seed 7\n"), "{text}");
    assert!(text.contains("64 partitions"), "{text}");
}

#[operation]
fn keeps(n: &u64) -> bool {
    !n.is_multiple_of(3)
}

#[operation]
fn is_even(n: &u64) -> bool {
    n.is_multiple_of(2)
}

#[operation]
fn refuse_sevens(n: u64) -> Result<u64> {
    phalanx::ensure!(!n.is_multiple_of(7), "{n} is refused");
    Ok(n)
}

#[operation]
fn pair_of((number, n): (u64, u64)) -> (u64, u64) {
    (n, number)
}

fn numbered(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    (0..).zip(numbers).collect()
}

#[tokio::test]
async fn elements_have_the_numbers_that_iterators_give_them() {
    let runtime = runtime().await;
    let source = || IndexedStream::from(5..905u64).batch(7);
    assert_eq!(all(source().enumerate(), &runtime).await, numbered(5..905));
    let twice: Vec<_> =
        numbered(5..905).into_iter().enumerate().map(|(i, n)| (i as u64, n)).collect();
    assert_eq!(all(source().enumerate().enumerate(), &runtime).await, twice);
    let some = || source().map(RefuseSevens).on_failure(OnFailure::Skip).filter(Keeps);
    let expected: Vec<u64> = (5..905).filter(|n| n % 7 != 0 && n % 3 != 0).collect();
    assert_eq!(all(some().enumerate(), &runtime).await, numbered(expected.clone()));
    // Handed out as completed, cut, and followed by steps in the same or in another pool.
    let results = soon("the results", some().enumerate().run(&runtime).await.unwrap().collect());
    let mut results: Vec<(u64, (u64, u64))> = results.await.unwrap();
    results.sort_by_key(|(_, numbered)| *numbered);
    assert!(results.iter().all(|(index, (_, n))| index + 5 == *n));
    assert!(results.iter().map(|(_, it)| *it).eq(numbered(expected.clone())));
    let cut = all(some().enumerate().take(10), &runtime).await;
    assert_eq!(cut, numbered(expected[..10].to_vec()));
    let swapped: Vec<(u64, u64)> =
        numbered(expected.clone()).into_iter().map(|(i, n)| (n, i)).collect();
    assert_eq!(all(some().enumerate().map(PairOf), &runtime).await, swapped);
    assert_eq!(all(some().enumerate().swap(), &runtime).await, swapped);
    let there = some().enumerate().map(PairOf).pool("there").batch(3).swap().swap();
    assert_eq!(all(there, &runtime).await, swapped);
    let even: Vec<_> = numbered(expected.clone()).into_iter().filter(|(i, _)| i % 2 == 0).collect();
    assert_eq!(all(some().enumerate().filter_keys(IsEven), &runtime).await, even);
    let sampled = all(some().enumerate().sample(0.5, 1), &runtime).await;
    assert!(sampled.len() > 100 && sampled.iter().all(|it| expected[it.0 as usize] == it.1));
    // Into an exchange, and a fold.
    let sums = sorted(source().filter(Keeps).enumerate().swap().reduce_by_key(Add), &runtime).await;
    let kept = numbered((5..905).filter(|n| n % 3 != 0));
    assert_eq!(sums, kept.iter().map(|(i, n)| (*n, *i)).collect::<Vec<_>>());
    let groups = sorted(source().filter(Keeps).enumerate().group_by_key(), &runtime).await;
    assert_eq!(groups, kept.iter().map(|(i, n)| (*i, vec![*n])).collect::<Vec<_>>());
    let sum = some().enumerate().keys().reduce(Add).run(&runtime);
    let numbers = expected.len() as u64;
    assert_eq!(soon("a sum", sum).await.unwrap(), Some(numbers * (numbers - 1) / 2));
    let none = IndexedStream::from(0..0u64).filter(Keeps).enumerate();
    assert!(all(none, &runtime).await.is_empty());
    runtime.close().await;
}

#[tokio::test]
async fn numbers_behind_an_exchange_follow_its_order_in_each_run() {
    let runtimes = [runtime_of(1).await, runtime_of(20).await];
    let mut seen = HashSet::new();
    for (runtime, batch) in runtimes.iter().zip([7, 500]) {
        let counts = || IndexedStream::from(0..4_000u64).batch(batch).map(Modulo).count_by_key();
        let numbered = all(counts().enumerate(), runtime).await;
        assert!(numbered.iter().map(|(number, _)| *number).eq(0..500));
        let plain = all(counts().partitions(64), runtime).await;
        assert!(numbered.iter().map(|(_, pair)| *pair).eq(plain), "the order of `collect`");
        let filtered = all(counts().keys().filter(Keeps).enumerate().swap(), runtime).await;
        assert!(filtered.iter().map(|(_, number)| *number).eq(0..filtered.len() as u64));
        let again = sorted(counts().enumerate().swap().group_by_key(), runtime).await;
        assert_eq!(again.len(), 500);
        seen.insert((numbered, filtered, again));
    }
    assert_eq!(seen.len(), 1, "each run gives the same numbers");
    for runtime in runtimes {
        runtime.close().await;
    }
}

#[test]
fn a_union_cannot_be_numbered_and_settings_end_at_a_numbering() {
    let union = || IndexedStream::from([1u64]).union(IndexedStream::from([2]));
    let error = union().enumerate().explain().unwrap_err();
    assert!(matches!(error, PlanError::SeveralInputs { directive: "enumerate" }), "{error}");
    assert!(union().distinct().enumerate().explain().is_ok(), "an exchange makes one of them");
    let doubled = || IndexedStream::from([1u64]).map(Double);
    let error = doubled().enumerate().retries(1).explain().unwrap_err();
    assert!(matches!(error, PlanError::NoStep { setting: "retries" }), "{error}");
    let error = doubled().take(3).enumerate().explain().unwrap_err();
    assert!(matches!(error, PlanError::AfterTake { directive: "enumerate" }), "{error}");
    let error = doubled().distinct().enumerate().partitions(3).explain().unwrap_err();
    assert!(matches!(error, PlanError::NoExchange), "{error}");
}

#[test]
fn explain_shows_where_elements_are_numbered() {
    let text = IndexedStream::from([1u64]).map(Double).pool("p").enumerate().map(PairOf);
    let text = text.pool("p").enumerate().explain().unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let numbers = "(elements pass through the leader, which numbers them)";
    assert_eq!((lines[3], lines[6]), (numbers, numbers), "{text}");
    assert!(lines[4].starts_with("stage 1  pool `p`, one step"), "{text}");
    assert_eq!(lines[7], "stage 2  no steps, at the leader", "{text}");
}

#[operation]
fn sum_of_pair((a, b): (u64, u64)) -> u64 {
    a + b
}

#[tokio::test]
async fn elements_with_equal_numbers_are_zipped() {
    let runtime = runtime().await;
    let ours = || IndexedStream::from(0..900u64).batch(7).filter(Keeps);
    let theirs = || IndexedStream::from(0..200u64).batch(9).flat_map(Digits);
    let ours_plainly = || (0..900u64).filter(|n| !n.is_multiple_of(3));
    let theirs_plainly: Vec<u64> = (0..200u64).flat_map(|n| digits(&n)).collect();
    let count = theirs_plainly.len() as u64;
    assert!(count < 600);
    // As many as there are of the shorter.
    let rest = move || IndexedStream::from(0..3 * count / 2).batch(7).filter(Keeps);
    assert_eq!(ours_plainly().take_while(|n| *n < 3 * count / 2).count() as u64, count);
    let mut expected: Vec<(u64, u64)> = ours_plainly().zip(theirs_plainly.clone()).collect();
    expected.sort_unstable();
    assert_eq!(sorted(rest().zip(theirs()), &runtime).await, expected);
    // The keys of the pairs are found by what follows.
    let sums = theirs().zip(rest()).reduce_by_key(Add);
    let mut plainly = std::collections::BTreeMap::<u64, u64>::new();
    expected.iter().for_each(|(n, digit)| *plainly.entry(*digit).or_default() += n);
    assert_eq!(sorted(sums, &runtime).await, plainly.into_iter().collect::<Vec<_>>());
    let keys = sorted(rest().zip(theirs()).keys(), &runtime).await;
    assert!(keys.into_iter().eq(expected.iter().map(|(n, _)| *n)));
    let total = theirs().zip(rest()).map(SumOfPair).reduce(Add).run(&runtime);
    let expected_total = expected.iter().map(|(a, b)| a + b).sum();
    assert_eq!(soon("a sum", total).await.unwrap(), Some(expected_total));
    // Outputs of exchanges, and nothing.
    let distinct = || theirs().distinct().partitions(3);
    let zipped = sorted(distinct().zip(IndexedStream::from(0..10u64)), &runtime).await;
    assert!(zipped.iter().map(|(digit, _)| *digit).eq(0..10), "{zipped:?}");
    let nothing = IndexedStream::from(0..0u64).zip(ours().filter(Keeps).filter(IsThree));
    assert!(all(nothing, &runtime).await.is_empty());
    runtime.close().await;
}

#[operation]
fn is_three(n: &u64) -> bool {
    n.is_multiple_of(3)
}

#[tokio::test]
async fn streams_of_unequal_lengths_are_not_zipped() {
    let runtime = runtime().await;
    for (ours, theirs) in [(30, 29), (29, 30), (0, 1), (1, 0), (2_000, 1)] {
        let first = IndexedStream::from(0..ours).map(Double);
        let zipped = first.zip(IndexedStream::from(0..theirs)).count();
        let error = soon("an error", zipped.run(&runtime)).await.unwrap_err();
        let Error::UnequalLengths { first, second, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*first, *second), (ours, theirs));
        let text = format!("the first has {ours} elements, and the second has {theirs}");
        assert!(error.to_string().ends_with(&text), "{error}");
    }
    runtime.close().await;
}

#[test]
fn neither_a_union_nor_an_endless_stream_can_be_zipped() {
    let one = || IndexedStream::from([1u64]);
    let error = one().zip(one().union(one())).explain().unwrap_err();
    assert!(matches!(error, PlanError::SeveralInputs { directive: "zip" }), "{error}");
    let endless = IndexedStream::from((0..u64::MAX).chain(0..));
    let error = one().zip(endless).explain().unwrap_err();
    assert!(matches!(error, PlanError::Endless { directive: "zip" }), "{error}");
    let text = one().map(Double).zip(one()).partitions(5).explain().unwrap();
    let line = "exchange zip of the outputs of stage 1 with those of stage 2, by number, \
                5 partitions\n";
    assert!(text.contains(line), "{text}");
}
