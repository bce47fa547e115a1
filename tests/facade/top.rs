//! The largest elements, on workers in memory, beside a sort of all.

use std::cmp::Reverse;

use phalanx::{Error, ValueProgram, prelude::*};

#[operation]
fn scramble(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) % 1_000
}

#[operation]
fn last_digit(n: &u64) -> u64 {
    n % 10
}

#[operation]
fn length(word: &str) -> usize {
    word.len()
}

#[operation]
fn reversed(word: String) -> Reverse<String> {
    Reverse(word)
}

#[operation]
fn shortness(word: &str) -> Reverse<usize> {
    Reverse(word.len())
}

#[operation]
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(String::from).collect()
}

#[operation]
fn frequency((_, count): &(String, u64)) -> u64 {
    *count
}

#[operation]
fn not_divisible_by_seven(n: u64) -> Result<u64> {
    phalanx::ensure!(!n.is_multiple_of(7), "divisible by seven");
    Ok(n)
}

#[operation]
fn two_of_each(n: u64) -> Vec<u64> {
    vec![n, n + 1]
}

#[operation]
fn is_even(n: &u64) -> bool {
    n.is_multiple_of(2)
}

/// A float, of which there is a total order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Total(f64);

impl Eq for Total {}

impl Ord for Total {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[operation]
async fn half(n: u64) -> Total {
    tokio::task::yield_now().await;
    Total(n as f64 / -2.0)
}

async fn run<V: Send + 'static>(program: ValueProgram<V>) -> V {
    let runtime = Runtime::connect("memory://").await.unwrap();
    program.run(&runtime).await.unwrap()
}

/// What [`IndexedStream::top`] must give.
fn largest<T: Ord>(elements: impl IntoIterator<Item = T>, n: usize) -> Vec<T> {
    let mut elements: Vec<T> = elements.into_iter().collect();
    elements.sort_by(|a, b| b.cmp(a));
    elements.truncate(n);
    elements
}

fn scrambled(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) % 1_000
}

#[tokio::test]
async fn the_largest_elements_come_first_and_duplicates_are_kept() {
    // A thousand values at most, so most of them come several times.
    for n in [1, 10, 4_000] {
        let top = run(IndexedStream::from(0..5_000).map(Scramble).batch(300).top(n)).await;
        assert_eq!(top, largest((0..5_000).map(scrambled), n));
    }
}

#[tokio::test]
async fn fewer_elements_than_asked_for_are_all_of_them() {
    let numbers = || IndexedStream::from([3, 9, 3]);
    assert_eq!(run(numbers().map(Scramble).top(usize::MAX)).await.len(), 3);
    assert_eq!(run(numbers().top(7)).await, [9, 3, 3]);
    assert_eq!(run(numbers().top_by_key(7, LastDigit)).await, [9, 3, 3]);
}

#[tokio::test]
async fn no_elements_have_no_largest() {
    let none = || IndexedStream::from(Vec::<u64>::new());
    assert!(run(none().map(Scramble).top(3)).await.is_empty());
    assert!(run(none().top_by_key(3, LastDigit)).await.is_empty());
}

#[tokio::test]
async fn a_top_of_zero_is_empty_even_if_the_source_is_endless() {
    assert!(run(IndexedStream::from(0u64..).map(Scramble).top(0)).await.is_empty());
    assert!(run(IndexedStream::from(0u64..).top_by_key(0, LastDigit)).await.is_empty());
}

#[tokio::test]
async fn elements_with_equal_keys_come_in_the_order_of_their_bytes() {
    let words = ["d", "bb", "a", "aa", "c", "ccc", "b"].map(String::from);
    for batch in 1..=words.len() as u32 {
        let stream = IndexedStream::from(words.clone()).batch(batch);
        let top = run(stream.top_by_key(5, Length)).await;
        assert_eq!(top, ["ccc", "aa", "bb", "a", "b"]);
    }
}

#[tokio::test]
async fn the_smallest_elements_are_the_largest_in_reverse() {
    let words = || IndexedStream::from(["d", "bb", "aaa", "c"].map(String::from));
    let first = run(words().map(Reversed).top(2)).await;
    assert_eq!(first, ["aaa", "bb"].map(|word| Reverse(word.to_owned())));
    assert_eq!(run(words().top_by_key(3, Shortness)).await, ["c", "d", "bb"]);
}

#[tokio::test]
async fn outputs_of_every_kind_of_step_have_an_order() {
    let numbers = || IndexedStream::from(0..2_000u64).batch(100);
    assert_eq!(run(numbers().flat_map(TwoOfEach).top(3)).await, [2_000, 1_999, 1_999]);
    assert_eq!(run(numbers().filter(IsEven).top(2)).await, [1_998, 1_996]);
    assert_eq!(run(numbers().map(Half).top(2)).await, [Total(-0.0), Total(-0.5)]);
    let results = run(numbers().map(Scramble).union(numbers()).top(3)).await;
    assert_eq!(results, [1_999, 1_998, 1_997]);
}

#[tokio::test]
async fn pairs_are_compared_as_pairs() {
    // The bytes of these numbers are in another order than the numbers.
    let pairs = IndexedStream::from(0..2_000u64).key_by(LastDigit).batch(500);
    assert_eq!(run(pairs.top(3)).await, [(9, 1_999), (9, 1_989), (9, 1_979)]);
}

#[tokio::test]
async fn the_most_frequent_words_are_counted_before_they_are_compared() {
    let lines = (0..500).map(|n| format!("the {} and the {}", n % 3, n % 50));
    let counts = IndexedStream::from(lines).flat_map(Words).count_by_value();
    let top = run(counts.partitions(7).top_by_key(3, Frequency)).await;
    assert_eq!(top, [("the", 1_000), ("and", 500), ("0", 177)].map(|(w, n)| (w.to_owned(), n)));
    let distinct = IndexedStream::from(0..5_000).map(Scramble).distinct();
    assert_eq!(run(distinct.top(3)).await, [999, 998, 997]);
}

#[tokio::test]
async fn failed_elements_fail_the_job_or_are_left_out() {
    let runtime = Runtime::connect("memory://").await.unwrap();
    let numbers = || IndexedStream::from(0..1_000u64).batch(64).map(NotDivisibleBySeven);
    let error = numbers().top(3).run(&runtime).await.unwrap_err();
    assert!(matches!(error, Error::Execute(_)), "{error}");
    let skipped = || numbers().on_failure(OnFailure::Skip);
    assert_eq!(skipped().top(3).run(&runtime).await.unwrap(), [999, 998, 997]);
    let top = skipped().top_by_key(3, LastDigit).run(&runtime).await.unwrap();
    assert_eq!(top, [9, 19, 29]);
}

#[tokio::test]
async fn a_failed_source_fails_the_job() {
    let runtime = Runtime::connect("memory://").await.unwrap();
    let numbers = [Ok(1), Ok(2), Err("the disk is gone")];
    let program = IndexedStream::try_from_iter(numbers).map(Scramble).top(1);
    let error = program.run(&runtime).await.unwrap_err();
    assert!(matches!(error, Error::Input { index: 2, .. }), "{error}");
}

#[tokio::test]
async fn a_top_after_a_take_is_a_plan_error() {
    let taken = || IndexedStream::from(0..9).map(Scramble).take(3);
    let error = taken().top(1).explain().unwrap_err();
    assert!(error.to_string().starts_with("`top` cannot follow a `take`"), "{error}");
    let error = taken().top_by_key(1, LastDigit).explain().unwrap_err();
    assert!(error.to_string().contains("cannot follow a `take`"), "{error}");
    let source = IndexedStream::from(0..).take(9).top(1);
    assert!(source.explain().unwrap().contains("the largest element"));
    assert_eq!(run(source).await, [8]);
}
