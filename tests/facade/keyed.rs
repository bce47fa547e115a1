//! Directives by key, on workers in memory, beside the obvious programs over `std` collections.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    time::Duration,
};

use phalanx::{Error, PlanError, operation::ErrorKind, prelude::*};
use phalanx_test_support::soon;

#[operation]
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_lowercase).collect()
}

#[operation]
fn with_length(word: String) -> (usize, String) {
    (word.len(), word)
}

/// Does not commute.
#[operation]
fn join(a: String, b: String) -> String {
    format!("{a} {b}")
}

#[operation]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[operation]
fn remainder(n: u64) -> (u64, u64) {
    (n % 7, n)
}

#[operation]
fn swap((key, count): (u64, u64)) -> (u64, u64) {
    (count, key)
}

#[operation]
async fn halve((key, n): (u64, u64)) -> (u64, u64) {
    tokio::task::yield_now().await;
    (key, n / 2)
}

#[operation]
fn not_three((key, n): (u64, u64)) -> Result<(u64, u64)> {
    phalanx::ensure!(n != 3, "three is not accepted");
    Ok((key, n))
}

/// Fails for the key that adds up to more than that.
#[operation]
fn add_up_to_a_thousand(a: u64, b: u64) -> Result<u64> {
    phalanx::ensure!(a + b <= 1_000, "{a} and {b} are more than a thousand");
    Ok(a + b)
}

#[derive(Serialize, Deserialize, RemoteExecute)]
struct Concat;

impl Monoid for Concat {
    type Elem = String;

    fn empty(&self) -> String {
        String::new()
    }

    fn combine(&self, a: String, b: String, _cx: &TaskContext) -> Result<String> {
        Ok(a + &b)
    }
}

const TEXT: &str = "the quick brown fox jumps over the lazy dog and the dog barks at the fox";

fn lines(repeated: usize) -> impl Iterator<Item = String> + Send + 'static {
    (0..repeated).map(|n| format!("{TEXT} line{}", n % 10))
}

fn all_words(repeated: usize) -> Vec<String> {
    lines(repeated).flat_map(|line| line.split(' ').map(String::from).collect::<Vec<_>>()).collect()
}

async fn runtime() -> Runtime {
    Runtime::builder().url("memory://").slots(2).connect().await.unwrap()
}

async fn map<K: Ord + Data, V: Data>(
    stream: IndexedStream<(K, V)>,
    runtime: &Runtime,
) -> BTreeMap<K, V> {
    let pairs = soon("the pairs", stream.collect(runtime)).await.unwrap();
    let count = pairs.len();
    let map = BTreeMap::from_iter(pairs);
    assert_eq!(map.len(), count, "each key comes once");
    map
}

use phalanx::operation::Data;

#[tokio::test]
async fn words_are_counted() {
    let runtime = runtime().await;
    for repeated in [0, 1, 500] {
        let counts = IndexedStream::from(lines(repeated)).flat_map(Words).count_by_value();
        let mut expected = BTreeMap::<String, u64>::new();
        all_words(repeated).into_iter().for_each(|word| *expected.entry(word).or_default() += 1);
        assert_eq!(map(counts, &runtime).await, expected);
    }
    runtime.close().await;
}

#[tokio::test]
async fn the_values_of_a_key_keep_the_order_of_the_input() {
    let runtime = runtime().await;
    let mut expected = BTreeMap::<usize, Vec<String>>::new();
    for word in all_words(300) {
        expected.entry(word.len()).or_default().push(word);
    }
    let pairs = || IndexedStream::from(lines(300)).flat_map(Words).batch(7).map(WithLength);
    let groups = map(pairs().group_by_key(), &runtime).await;
    assert_eq!(groups, expected);
    let joined = map(pairs().reduce_by_key(Join), &runtime).await;
    let concatenated = map(pairs().fold_by_key(Concat).partitions(300), &runtime).await;
    let counted = map(pairs().count_by_key().partitions(1), &runtime).await;
    for (key, words) in expected {
        assert_eq!(joined[&key], words.join(" "));
        assert_eq!(concatenated[&key], words.concat());
        assert_eq!(counted[&key], words.len() as u64);
    }
    runtime.close().await;
}

#[tokio::test]
async fn a_source_of_pairs_goes_into_an_exchange_without_a_step() {
    let runtime = runtime().await;
    let pairs = || IndexedStream::from((0..2_000u64).map(|n| (format!("key {}", n % 50), n)));
    let sums = map(pairs().reduce_by_key(Add), &runtime).await;
    assert_eq!((sums.len(), sums["key 49"]), (50, (0..40).map(|n| 50 * n + 49).sum()));
    assert!(map(pairs().count_by_key(), &runtime).await.values().all(|count| *count == 40));
    let groups = map(pairs().group_by_key(), &runtime).await;
    assert_eq!(groups["key 7"], (0..40).map(|n| 50 * n + 7).collect::<Vec<_>>());
    let distinct = IndexedStream::from((0..2_000u64).map(|n| n % 9)).distinct();
    let distinct = BTreeSet::from_iter(soon("them", distinct.collect(&runtime)).await.unwrap());
    assert_eq!(distinct, (0..9).collect());
    let nothing = IndexedStream::from(Vec::<(u8, u64)>::new()).reduce_by_key(Add);
    assert!(map(nothing, &runtime).await.is_empty());
    runtime.close().await;
}

#[tokio::test]
async fn exchanges_follow_each_other_with_and_without_steps_in_between() {
    let runtime = runtime().await;
    // How many keys have each count.
    let counts = || IndexedStream::from(0..1_000u64).map(Remainder).count_by_key();
    let sizes = map(counts().map(Swap).reduce_by_key(Add), &runtime).await;
    assert_eq!(sizes, BTreeMap::from([(142, 6), (143, (0..6).sum())]));
    let grouped = map(counts().map(Swap).group_by_key(), &runtime).await;
    assert_eq!(grouped[&142], [6]);
    // Pairs that are distinct, without a step before they are taken apart.
    let pairs = IndexedStream::from((0..300u64).map(|n| (n % 3, n % 5)));
    let sums = map(pairs.distinct().reduce_by_key(Add), &runtime).await;
    assert_eq!(sums, BTreeMap::from([(0, 10), (1, 10), (2, 10)]));
    let words = IndexedStream::from(lines(20)).flat_map(Words).distinct().map(WithLength);
    assert_eq!(map(words.count_by_key().distinct(), &runtime).await[&5], 14);
    let total = counts().count_by_value().count();
    assert_eq!(soon("the count", total.run(&runtime)).await.unwrap(), 7);
    runtime.close().await;
}

#[tokio::test]
async fn every_end_follows_an_exchange() {
    let runtime = runtime().await;
    let pairs = || IndexedStream::from(0..1_000u64).map(Remainder).reduce_by_key(Add);
    let sum: u64 = (0..1_000).sum();
    assert_eq!(soon("a count", pairs().count().run(&runtime)).await.unwrap(), 7);
    assert!(soon("one", pairs().first().run(&runtime)).await.unwrap().is_some());
    assert_eq!(soon("some", pairs().take(3).collect(&runtime)).await.unwrap().len(), 3);
    let results: Vec<(u64, (u64, u64))> =
        soon("all", pairs().run(&runtime).await.unwrap().collect()).await.unwrap();
    let numbers: Vec<u64> = results.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6], "results are numbered");
    assert_eq!(results.iter().map(|(_, (_, n))| n).sum::<u64>(), sum);
    // In partition order, twice.
    let once = soon("all", pairs().map(Halve).collect(&runtime)).await.unwrap();
    assert_eq!(soon("all", pairs().map(Halve).collect(&runtime)).await.unwrap(), once);
    // In another pool, through the leader.
    let elsewhere = soon("all", pairs().map(Swap).map(Swap).collect(&runtime)).await.unwrap();
    assert_eq!(elsewhere.len(), 7);
    // A union of two exchanges, and of an exchange and a source.
    let both = pairs().union(pairs()).union(IndexedStream::from([(9, 1), (8, 2)]));
    let both = soon("all", both.collect(&runtime)).await.unwrap();
    assert_eq!(both[14..], [(9, 1), (8, 2)]);
    let sums = pairs().union(IndexedStream::from([(0, 1), (8, 2)])).reduce_by_key(Add);
    let sums = map(sums, &runtime).await;
    assert_eq!((sums.len(), sums.values().sum::<u64>()), (8, sum + 3));
    runtime.close().await;
}

#[tokio::test]
async fn elements_that_fail_before_an_exchange_are_left_out_or_fail_the_job() {
    let runtime = runtime().await;
    let pairs = || IndexedStream::from(0..700u64).map(Remainder).map(NotThree);
    let error = soon("a failure", pairs().reduce_by_key(Add).collect(&runtime)).await.unwrap_err();
    let Error::Execute(failure) = &error else { panic!("{error:?}") };
    assert_eq!((failure.index, failure.error.message()), (3, "three is not accepted"));
    let skipping = pairs().on_failure(OnFailure::Skip);
    let sums = map(skipping.reduce_by_key(Add), &runtime).await;
    let expected: u64 = (0..700).filter(|n| n % 7 == 3).sum();
    assert_eq!((sums.len(), sums[&3]), (7, expected - 3));
    runtime.close().await;
}

#[tokio::test]
async fn a_combination_that_fails_fails_its_element_or_its_group() {
    let runtime = runtime().await;
    // Each value is alone in its task, so only the groups of the reading stage fail.
    let pairs = || IndexedStream::from(0..70u64).batch(1).map(Remainder);
    let error = pairs().reduce_by_key(AddUpToAThousand).collect(&runtime);
    assert!(soon("all", error).await.is_ok(), "no group has so much");
    let large = || IndexedStream::from(500..570u64).batch(1).map(Remainder);
    let error = large().reduce_by_key(AddUpToAThousand).collect(&runtime);
    let error = soon("a failure", error).await.unwrap_err();
    let Error::Execute(failure) = &error else { panic!("{error:?}") };
    assert!(failure.operation.ends_with("AddUpToAThousand"), "{error}");
    assert_eq!(failure.error.kind(), ErrorKind::Fatal);
    let some = pairs().union(IndexedStream::from([(3, 990)])).reduce_by_key(AddUpToAThousand);
    let some = map(some.on_failure(OnFailure::Skip), &runtime).await;
    assert_eq!(some.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6]);
    runtime.close().await;
}

#[tokio::test]
async fn a_stall_says_that_an_exchange_waits_for_the_end_of_the_input() {
    let impatient = Runtime::builder().url("memory://").stall_after(Duration::from_millis(100));
    let runtime = impatient.connect().await.unwrap();
    let (sender, input) = std::sync::mpsc::channel::<u64>();
    let counts = IndexedStream::from(input).map(Remainder).count_by_key();
    let (job, results) = counts.start(&runtime).unwrap();
    let mut events = job.events();
    (0..3).for_each(|n| sender.send(n).unwrap());
    let stall = async {
        loop {
            match events.next().await.expect("the job runs") {
                phalanx::JobEvent::Stalled(stall) if stall.to_string().contains("3 elements") => {
                    break stall.to_string();
                }
                _ => {}
            }
        }
    };
    let stall = soon("a stall", stall).await;
    assert!(stall.starts_with("`count_by_key` waits for the end of the input: 3 elements so far"));
    drop(sender);
    assert_eq!(soon("the counts", results.collect()).await.unwrap().len(), 3);
    runtime.close().await;
}

#[tokio::test]
async fn keys_and_values_of_any_size_meet() {
    let runtime = runtime().await;
    let key = |n: u64| format!("{}{n}", "k".repeat(1 << 20));
    let pairs = (0..6u64).map(move |n| (key(n % 2), vec![n as u8; 1 << 19]));
    let groups = map(IndexedStream::from(pairs).group_by_key(), &runtime).await;
    assert_eq!(groups.len(), 2);
    for (key, values) in groups {
        let first = u8::from(key.ends_with('1'));
        let firsts: Vec<u8> = values.iter().map(|value| value[0]).collect();
        assert_eq!(firsts, [first, first + 2, first + 4]);
    }
    // Nothing in keys and values at all.
    let units = IndexedStream::from((0..100u64).map(|_| ((), ()))).group_by_key();
    assert_eq!(map(units, &runtime).await, BTreeMap::from([((), vec![(); 100])]));
    runtime.close().await;
}

#[tokio::test]
async fn pairs_are_collected_in_a_map_unless_a_key_comes_twice() {
    let runtime = runtime().await;
    let pairs =
        || IndexedStream::from([("b", 1), ("a", 2), ("b", 3)].map(|(k, v)| (k.to_owned(), v)));
    let sums = soon("the map", pairs().reduce_by_key(Add).collect_map(&runtime)).await.unwrap();
    assert_eq!((sums.len(), sums["b"]), (2, 4));
    let error = soon("an error", pairs().collect_map(&runtime)).await.unwrap_err();
    assert!(
        matches!(&error, Error::DuplicateKey { key, .. } if key.bytes() == b"\x01b"),
        "{error}"
    );
    runtime.close().await;
}

#[test]
fn mistakes_are_found_when_the_program_is_planned() {
    let mistake = |program: IndexedStream<(u64, u64)>| program.explain().unwrap_err();
    let pairs = || IndexedStream::from(0..10u64).map(Remainder);
    let endless = IndexedStream::from((0..u64::MAX).chain(0..)).map(Remainder);
    let error = mistake(endless.reduce_by_key(Add));
    assert!(matches!(error, PlanError::Endless { directive: "reduce_by_key" }), "{error}");
    for count in [0, 5_000] {
        let error = mistake(pairs().reduce_by_key(Add).partitions(count));
        assert!(error.to_string().contains("1 to 4096"), "{error}");
    }
    let error = mistake(pairs().partitions(3));
    assert!(matches!(error, PlanError::NoExchange), "{error}");
    let fixed = pairs().count_by_key().map(Swap).map(Swap).reduce(Both).deterministic();
    let error = fixed.explain().unwrap_err();
    assert!(error.to_string().contains("`count_by_key`"), "{error}");
}

#[operation]
fn both(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0 + b.0, a.1 + b.1)
}

#[test]
fn explain_shows_the_exchange_between_its_stages() {
    let program = IndexedStream::from(lines(3)).flat_map(Words).count_by_value().partitions(8);
    let text = program.explain().unwrap();
    let line = "exchange count_by_value of the outputs of stage 0, by the whole element, combined \
                before they travel, 8 partitions\nblocks   in replies and tasks; beyond \
                `block_memory`, in queues of the broker\n";
    assert!(text.contains(line), "{text}");
    assert!(
        text.contains("stage 1  pool `default`, no steps, tasks of whole partitions"),
        "{text}"
    );
}

type Pairs<V> = Vec<(u64, V)>;

/// Pairs with many values for some keys, and none for others.
fn left() -> Pairs<String> {
    (0..400u64).map(|n| (n * n % 31, format!("v{n}"))).collect()
}

fn right() -> Pairs<u64> {
    (0..300u64).map(|n| (n % 40, n)).collect()
}

/// The values of a key.
fn of<V: Clone>(pairs: &Pairs<V>, key: u64) -> Vec<V> {
    pairs.iter().filter(|(other, _)| *other == key).map(|(_, value)| value.clone()).collect()
}

fn optional<V>(values: Vec<V>) -> Vec<Option<V>> {
    match values.is_empty() {
        true => vec![None],
        false => values.into_iter().map(Some).collect(),
    }
}

/// The rows of a join by two loops.
fn product<V: Clone, W: Clone>(key: u64, vs: &[V], ws: &[W]) -> Vec<(u64, (V, W))> {
    vs.iter().flat_map(|v| ws.iter().map(move |w| (key, (v.clone(), w.clone())))).collect()
}

async fn sorted_rows<T: Data + Ord>(stream: IndexedStream<T>, runtime: &Runtime) -> Vec<T> {
    let mut rows = soon("the rows", stream.collect(runtime)).await.unwrap();
    rows.sort();
    rows
}

fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort();
    rows
}

#[tokio::test]
async fn joins_give_the_rows_of_two_loops() {
    let runtime = runtime().await;
    let (l, r) = (left(), right());
    let keys: BTreeSet<u64> =
        l.iter().map(|(key, _)| *key).chain(r.iter().map(|it| it.0)).collect();
    let streams = || (IndexedStream::from(left()).batch(9), IndexedStream::from(right()).batch(70));
    let rows = |of_key: &dyn Fn(u64, Vec<String>, Vec<u64>) -> usize| -> usize {
        keys.iter().map(|key| of_key(*key, of(&l, *key), of(&r, *key))).sum()
    };

    let (a, b) = streams();
    let expected: Vec<_> =
        keys.iter().flat_map(|key| product(*key, &of(&l, *key), &of(&r, *key))).collect();
    assert_eq!(sorted_rows(a.join(b), &runtime).await, sorted(expected));

    let (a, b) = streams();
    let expected: Vec<_> =
        keys.iter().flat_map(|key| product(*key, &of(&l, *key), &optional(of(&r, *key)))).collect();
    assert_eq!(sorted_rows(a.left_join(b), &runtime).await, sorted(expected));

    let (a, b) = streams();
    let expected: Vec<_> = keys
        .iter()
        .flat_map(|key| product(*key, &optional(of(&l, *key)), &optional(of(&r, *key))))
        .collect();
    assert_eq!(sorted_rows(a.full_join(b), &runtime).await, sorted(expected));

    let (a, b) = streams();
    let groups = map(a.cogroup(b), &runtime).await;
    assert_eq!(groups.keys().copied().collect::<BTreeSet<_>>(), keys);
    assert!(groups.iter().all(|(key, (vs, ws))| *vs == of(&l, *key) && *ws == of(&r, *key)));

    let some = || IndexedStream::from([1u64, 4, 4, 77]).union(IndexedStream::from([9]));
    let kept = |present: bool| -> Vec<_> {
        l.iter().filter(|(key, _)| [1, 4, 9, 77].contains(key) == present).cloned().collect()
    };
    let semi = IndexedStream::from(left()).batch(9).semi_join(some());
    assert_eq!(sorted_rows(semi, &runtime).await, sorted(kept(true)));
    let anti = IndexedStream::from(left()).batch(9).anti_join(some());
    assert_eq!(sorted_rows(anti, &runtime).await, sorted(kept(false)));
    assert!(rows(&|_, vs, ws| vs.len() * ws.len()) > 1_000, "many rows");
    runtime.close().await;
}

#[operation]
fn total((key, (v, w)): (u64, (String, u64))) -> (u64, u64) {
    (key, v.len() as u64 + w)
}

#[tokio::test]
async fn a_join_is_followed_by_steps_exchanges_and_other_joins() {
    let runtime = runtime().await;
    let joined = || IndexedStream::from(left()).join(IndexedStream::from(right()));
    let sums = map(joined().map(Total).reduce_by_key(Add), &runtime).await;
    let (l, r) = (left(), right());
    for (key, sum) in &sums {
        let rows = product(*key, &of(&l, *key), &of(&r, *key));
        assert_eq!(*sum, rows.iter().map(|(_, (v, w))| v.len() as u64 + w).sum::<u64>());
    }
    // A join of a join, and of the outputs of an exchange, without a step in between.
    let twice = joined().join(IndexedStream::from(right()).reduce_by_key(Add));
    assert_eq!(
        soon("a count", twice.count().run(&runtime)).await.unwrap(),
        soon("a count", joined().count().run(&runtime)).await.unwrap(),
    );
    let nobody = IndexedStream::from(left()).join(IndexedStream::from(Pairs::<u64>::new()));
    assert_eq!(soon("a count", nobody.count().run(&runtime)).await.unwrap(), 0);
    // One key on both sides: more rows than elements by far.
    let one = || IndexedStream::from((0..600u64).map(|n| (7u8, n)));
    assert_eq!(soon("a count", one().join(one()).count().run(&runtime)).await.unwrap(), 360_000);
    let taken = soon("some", one().join(one()).take(10).collect(&runtime)).await.unwrap();
    assert_eq!(taken.len(), 10);
    runtime.close().await;
}

#[operation]
fn letters(word: &str) -> Vec<char> {
    word.chars().collect()
}

#[operation]
async fn letters_later(word: String) -> Vec<char> {
    tokio::task::yield_now().await;
    word.chars().collect()
}

#[operation]
fn length(word: &str) -> usize {
    word.len()
}

#[operation]
async fn length_later(word: String) -> usize {
    tokio::task::yield_now().await;
    word.len()
}

#[operation]
fn is_short(length: &usize) -> bool {
    *length < 4
}

#[operation]
fn is_long(word: &str) -> bool {
    word.len() > 3
}

#[operation]
fn not_the(word: String) -> Result<String> {
    phalanx::ensure!(word != "the", "an article");
    Ok(word)
}

#[operation]
fn shout(word: &str) -> String {
    word.to_uppercase()
}

/// The words of a text, with their lengths as keys.
fn lengths() -> Vec<(usize, String)> {
    TEXT.split(' ').map(|word| (word.len(), word.to_owned())).collect()
}

#[tokio::test]
async fn steps_run_on_values_or_keys_alone() {
    let runtime = runtime().await;
    let words = || IndexedStream::from([TEXT.to_owned()]).flat_map(Words);
    let from_source = || IndexedStream::from(lengths());
    let from_step = move || words().key_by(Length);
    let sources: [&dyn Fn() -> IndexedStream<(usize, String)>; 2] = [&from_source, &from_step];
    for pairs in sources {
        let all = lengths();
        let collected = soon("all", pairs().collect(&runtime)).await.unwrap();
        assert_eq!(collected, all);
        let shouted = soon("all", pairs().map_values(Shout).collect(&runtime)).await.unwrap();
        let expected: Vec<_> = all.iter().map(|(n, word)| (*n, word.to_uppercase())).collect();
        assert_eq!(shouted, expected);
        let expected: Vec<(usize, char)> =
            all.iter().flat_map(|(n, word)| word.chars().map(|letter| (*n, letter))).collect();
        let letters = pairs().flat_map_values(Letters).collect(&runtime);
        assert_eq!(soon("all", letters).await.unwrap(), expected);
        let letters = pairs().flat_map_values(LettersLater).collect(&runtime);
        assert_eq!(soon("all", letters).await.unwrap(), expected);
        let long: Vec<_> = all.iter().filter(|(n, _)| *n > 3).cloned().collect();
        let filtered = pairs().filter_values(IsLong).collect(&runtime);
        assert_eq!(soon("all", filtered).await.unwrap(), long);
        let short: Vec<_> = all.iter().filter(|(n, _)| *n < 4).cloned().collect();
        let filtered = pairs().filter_keys(IsShort).collect(&runtime);
        assert_eq!(soon("all", filtered).await.unwrap(), short);
        let (keys, values): (Vec<usize>, Vec<String>) = all.iter().cloned().unzip();
        assert_eq!(soon("all", pairs().keys().collect(&runtime)).await.unwrap(), keys);
        assert_eq!(soon("all", pairs().values().collect(&runtime)).await.unwrap(), values);
        let swapped = pairs().swap().swap().swap().collect(&runtime);
        let expected: Vec<_> = all.iter().map(|(n, word)| (word.clone(), *n)).collect();
        assert_eq!(soon("all", swapped).await.unwrap(), expected);
        // In front of an exchange, behind one, in another pool, and asynchronously.
        let counts = map(pairs().map_values(LengthLater).count_by_key(), &runtime).await;
        assert_eq!((counts[&3], counts[&5]), (9, 4));
        let groups = pairs().group_by_key().map_values(Count).filter_keys(IsShort);
        assert_eq!(map(groups, &runtime).await, BTreeMap::from([(2, 1), (3, 9)]));
        let through = pairs().map_values(Shout).values().count_by_value().values().reduce(Add);
        assert_eq!(soon("a sum", through.run(&runtime)).await.unwrap(), Some(16));
    }
    let grouped = map(words().group_by(Length), &runtime).await;
    assert_eq!(grouped[&4], ["over", "lazy"]);
    let skipping = from_source().map_values(NotThe).on_failure(OnFailure::Skip).keys();
    assert_eq!(soon("all", skipping.collect(&runtime)).await.unwrap().len(), 16 - 4);
    let failing = from_source().map_values(NotThe).collect(&runtime);
    let Error::Execute(failure) = soon("a failure", failing).await.unwrap_err() else { panic!() };
    assert_eq!((failure.index, failure.error.message()), (0, "an article"));
    runtime.close().await;
}

#[operation]
fn count(words: Vec<String>) -> u64 {
    words.len() as u64
}

#[tokio::test]
async fn elements_that_pass_through_the_leader_keep_their_keys() {
    let runtime = runtime().await;
    let pairs = IndexedStream::from(lengths()).map_values(Shout);
    let there = pairs.map_values(Length).pool("elsewhere").swap();
    assert!(there.explain().unwrap().contains("stage 1  pool `elsewhere`, 2 steps"));
    let rows = soon("all", there.collect(&runtime)).await.unwrap();
    assert!(rows.len() == 16 && rows.iter().all(|(length, key)| length == key));
    runtime.close().await;
}

/// A word that equals another one in any case, but is encoded as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Caseless(String);

impl PartialEq for Caseless {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Caseless {}

impl Hash for Caseless {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_ascii_lowercase().hash(state);
    }
}

#[tokio::test]
async fn keys_that_are_equal_but_encoded_differently_are_different_keys() {
    let runtime = runtime().await;
    let words = ["To", "to", "be", "TO", "to"].map(|word| Caseless(word.to_owned()));
    let counts = IndexedStream::from(words).count_by_value().collect(&runtime).await.unwrap();
    let mut counts: Vec<_> = counts.into_iter().map(|(word, count)| (word.0, count)).collect();
    counts.sort();
    let expected = [("TO", 1), ("To", 1), ("be", 1), ("to", 2)];
    assert_eq!(counts, expected.map(|(word, count)| (word.to_owned(), count)));
}

/// Workers know the key of an outermost pair alone, unless an operation says what is inside.
#[tokio::test]
async fn a_directive_by_key_after_a_part_of_pairs_is_a_plan_error_that_says_what_to_add() {
    let runtime = runtime().await;
    let nested = || IndexedStream::from([(1u64, (2u64, 3u64)), (4, (2, 6))]);
    let refused = |program: Result<String, PlanError>, directive: &str, after: &str| {
        let error = program.unwrap_err().to_string();
        let begin = format!("`{directive}` reads the keys of pairs that `{after}` gives");
        assert!(error.starts_with(&begin) && error.contains("add a `map`"), "{error}");
    };
    refused(nested().values().reduce_by_key(Sum).explain(), "reduce_by_key", "values");
    refused(nested().swap().keys().group_by_key().explain(), "group_by_key", "keys");
    refused(nested().values().sample(0.5, 1).values().explain(), "values", "values");
    refused(nested().values().distinct().swap().explain(), "swap", "values");
    refused(nested().values().join(nested()).explain(), "join", "values");
    let others = IndexedStream::from([(2u64, 1u64)]).join(nested().values());
    refused(others.explain(), "join", "values");
    // Their encodings as a whole are known, and so are numbers and the outputs of operations.
    let once = nested().values().distinct().collect(&runtime).await.unwrap();
    assert_eq!(BTreeSet::from_iter(once), BTreeSet::from([(2, 3), (2, 6)]));
    let numbers = nested().values().enumerate().keys().collect(&runtime).await.unwrap();
    assert_eq!(numbers, [0, 1]);
    let firsts = IndexedStream::from([(2u64, 3u64)]).intersection(nested().values()).keys();
    assert_eq!(firsts.collect(&runtime).await.unwrap(), [2]);
    let sums = nested().values().map(Same).reduce_by_key(Sum).collect(&runtime).await.unwrap();
    assert_eq!(sums, [(2, 9)]);
}

#[operation]
fn same(pair: (u64, u64)) -> (u64, u64) {
    pair
}

#[operation]
fn sum(a: u64, b: u64) -> u64 {
    a + b
}
