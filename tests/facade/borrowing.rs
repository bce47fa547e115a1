//! Operations that look at parts of their inputs, and whose items borrow from them.

use std::collections::BTreeMap;

use phalanx::{OnFailure, prelude::*};

/// Nothing may copy it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Price(u64);

impl Clone for Price {
    fn clone(&self) -> Self {
        panic!("a price was cloned");
    }
}

async fn memory() -> Runtime {
    Runtime::connect("memory://").await.unwrap()
}

#[operation]
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(' ')
}

#[operation]
fn owned_words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[operation]
fn numbered(line: &str) -> impl Iterator<Item = (&str, u64)> {
    line.split(' ').zip(1..)
}

#[operation]
fn long_words(line: &str) -> impl Iterator<Item = Option<&str>> {
    line.split(' ').map(|word| (word.len() > 3).then_some(word))
}

#[operation]
fn with_price(n: u64) -> (String, Price) {
    (format!("{n}"), Price(10 * n))
}

#[operation]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[operation]
fn total((key, (price, count)): (&str, (&Price, u64))) -> (String, u64) {
    (key.to_owned(), price.0 * count)
}

#[operation]
fn is_sold((_, (price, count)): (&str, (&Price, u64))) -> bool {
    price.0 > 0 && count > 1
}

#[operation]
fn is_dear(price: &Price, least: u64) -> bool {
    price.0 >= least
}

#[operation]
fn known((key, (price, other)): (&str, (u64, Option<&u64>))) -> (String, u64) {
    (key.to_owned(), price + other.copied().unwrap_or(1_000))
}

#[operation]
fn first_words(line: &str) -> Result<impl Iterator<Item = &str>> {
    if line.starts_with("bad") {
        return Err(OperationError::fatal("a bad line"));
    }
    let explodes = line.starts_with("half");
    Ok(line.split(' ').inspect(move |word| assert!(!explodes || *word != "boom", "it exploded")))
}

fn lines() -> Vec<String> {
    ["to be or not to be", "", "that is", "the question that"].map(String::from).to_vec()
}

#[tokio::test]
async fn items_that_borrow_are_collected_as_what_they_borrow() {
    let runtime = memory().await;
    let borrowed = IndexedStream::from(lines()).flat_map(Words).collect(&runtime).await.unwrap();
    let owned = IndexedStream::from(lines()).flat_map(OwnedWords).collect(&runtime).await.unwrap();
    assert_eq!(borrowed, owned);
    let long = IndexedStream::from(lines()).flat_map(LongWords).collect(&runtime).await.unwrap();
    assert_eq!(long.iter().flatten().collect::<Vec<_>>(), ["that", "question", "that"]);
}

#[tokio::test]
async fn items_that_borrow_are_grouped_as_what_they_borrow() {
    let runtime = memory().await;
    let counts = IndexedStream::from(lines()).flat_map(Words).count_by_value();
    let counts: BTreeMap<_, _> = counts.collect(&runtime).await.unwrap().into_iter().collect();
    let owned = IndexedStream::from(lines()).flat_map(OwnedWords).count_by_value();
    let owned: BTreeMap<_, _> = owned.collect(&runtime).await.unwrap().into_iter().collect();
    assert_eq!(counts, owned);
    assert_eq!(counts["that"], 2);
    let sums = IndexedStream::from(lines()).flat_map(Numbered).reduce_by_key(Add);
    let sums = sums.collect_map(&runtime).await.unwrap();
    assert_eq!((sums["be"], sums["that"], sums[""]), (8, 4, 1));
}

#[tokio::test]
async fn parts_of_a_row_are_looked_at_without_a_copy() {
    let runtime = memory().await;
    let prices = || IndexedStream::from(1..=3).map(WithPrice);
    let counts = [("1", 2), ("2", 1), ("3", 5)].map(|(key, n)| (key.to_owned(), n));
    let joined = prices().join(IndexedStream::from(counts.clone()));
    let mut totals = joined.map(Total).collect(&runtime).await.unwrap();
    totals.sort();
    assert_eq!(totals, [("1", 20), ("2", 20), ("3", 150)].map(|(key, n)| (key.to_owned(), n)));
    let counted = [("1", 5), ("2", 6)].map(|(key, n)| (key.to_owned(), n));
    let left = IndexedStream::from(counted).left_join(IndexedStream::from(counts[..1].to_vec()));
    let mut known = left.map(Known).collect(&runtime).await.unwrap();
    known.sort();
    assert_eq!(known, [("1".to_owned(), 7), ("2".to_owned(), 1_006)]);
}

#[tokio::test]
async fn a_row_is_kept_or_dropped_without_a_copy() {
    let runtime = memory().await;
    let row = |price, count| ("x".to_owned(), (Price(price), count));
    let rows = IndexedStream::from([row(1, 2), row(1, 1), row(0, 2)]).filter(IsSold);
    assert_eq!(rows.collect(&runtime).await.unwrap(), [row(1, 2)]);
    let prices = IndexedStream::from([(Price(1), 2), (Price(3), 2)]).filter(IsDear);
    assert_eq!(prices.collect(&runtime).await.unwrap(), [(Price(3), 2)]);
}

/// The items that an element has made before it failed are not counted.
#[tokio::test]
async fn an_element_that_fails_among_its_items_has_none() {
    let runtime = memory().await;
    for before in [0, 1, 500, 3_000] {
        let fine = std::iter::repeat_n("a b".to_owned(), before);
        let failing = ["half of it boom", "bad line", "half of b", "a"].map(String::from);
        let input: Vec<String> = fine.chain(failing).chain(["a a".to_owned()]).collect();
        let words = IndexedStream::from(input).flat_map(FirstWords).on_failure(OnFailure::Skip);
        let counts = words.count_by_value().collect_map(&runtime).await.unwrap();
        let expected = [("a", before + 3), ("b", before + 1), ("half", 1), ("of", 1)];
        let expected = expected.map(|(word, count)| (word.to_owned(), count as u64));
        let expected = expected.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, expected, "{before} lines before");
    }
}
