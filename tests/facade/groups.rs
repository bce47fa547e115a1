//! Elements that fail behind an exchange: their names, and their dead letters.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use phalanx::{
    Error, JobEvent,
    broker::Pool,
    dead_letters::{DeadLetterEntry, DeadLetters},
    error::Group,
    prelude::*,
};
use phalanx_test_support::{soon, until};

/// Bits of tests whose elements do not fail any more.
static MENDED: LazyLock<AtomicU64> = LazyLock::new(AtomicU64::default);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Case(u8);

impl Case {
    fn mend(self) {
        MENDED.fetch_or(1 << self.0, Relaxed);
    }

    fn check(self, text: &str) -> Result<()> {
        let is_mended = MENDED.load(Relaxed) & (1 << self.0) != 0;
        phalanx::ensure!(is_mended || !text.contains("pear"), "no pears");
        Ok(())
    }
}

/// Fails for the pear.
#[operation]
fn pass_group(
    #[state] case: Case,
    (name, counts): (String, Vec<u64>),
) -> Result<(String, Vec<u64>)> {
    case.check(&name)?;
    Ok((name, counts))
}

#[operation]
fn pass_pair(#[state] case: Case, (name, count): (String, u64)) -> Result<(String, u64)> {
    case.check(&name)?;
    Ok((name, count))
}

#[operation]
fn pass_name(#[state] case: Case, name: String) -> Result<String> {
    case.check(&name)?;
    Ok(name)
}

#[operation]
fn pass_joined(
    #[state] case: Case,
    (name, (count, other)): (String, (u64, Option<u64>)),
) -> Result<(String, (u64, Option<u64>))> {
    case.check(&name)?;
    Ok((name, (count, other)))
}

/// Fails for the values of the pear.
#[operation]
fn pass_values(#[state] case: Case, counts: Vec<u64>) -> Result<u64> {
    case.check(if counts.contains(&100) { "pear" } else { "" })?;
    Ok(counts.iter().sum())
}

/// Fails to add the values of the pear.
#[operation]
fn add_fruit(#[state] case: Case, a: u64, b: u64) -> Result<u64> {
    case.check(if a + b > 100 { "pear" } else { "" })?;
    Ok(a + b)
}

#[derive(Serialize, Deserialize, RemoteExecute)]
struct SumFruit(Case);

impl Monoid for SumFruit {
    type Elem = u64;

    fn empty(&self) -> u64 {
        0
    }

    fn combine(&self, a: u64, b: u64, _cx: &TaskContext) -> Result<u64> {
        self.0.check(if a + b > 100 { "pear" } else { "" })?;
        Ok(a + b)
    }
}

/// Fails for the first value of the pear.
#[operation]
fn pass_count(#[state] case: Case, count: u64) -> Result<u64> {
    case.check(if count == 100 { "pear" } else { "" })?;
    Ok(count)
}

#[operation]
fn initial(#[state] case: Case, name: &str) -> Result<char> {
    case.check(name)?;
    Ok(name.chars().next().unwrap_or_default())
}

#[operation]
fn succeeded(name: &std::result::Result<String, phalanx::Failure>) -> bool {
    name.is_ok()
}

#[operation]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// Fails as its error says where it is.
#[operation]
fn tell_index(name: String, cx: &TaskContext) -> Result<String> {
    phalanx::ensure!(name != "pear", "{}", cx.index());
    Ok(name)
}

/// Fails on its first try.
#[operation]
fn stumble((name, counts): (String, Vec<u64>), cx: &TaskContext) -> Result<String> {
    if name == "pear" && cx.tries() == 1 {
        return Err(OperationError::fatal("busy").transient());
    }
    phalanx::ensure!(counts.len() < 3, "too many");
    Ok(name)
}

/// Each pair is alone in its task.
fn fruit() -> IndexedStream<(String, u64)> {
    let pairs = [("apple", 1), ("pear", 100), ("fig", 2), ("pear", 7), ("apple", 3)];
    IndexedStream::from(pairs.map(|(name, count)| (name.to_owned(), count))).batch(1)
}

async fn runtime() -> Runtime {
    Runtime::builder().url("memory://").slots(2).connect().await.unwrap()
}

/// The group of the pear, which fails as this program says.
async fn failing<T: phalanx::operation::Data + std::fmt::Debug>(
    runtime: &Runtime,
    program: IndexedStream<T>,
) -> (Group, String) {
    let error = soon("a failure", program.collect(runtime)).await.unwrap_err();
    let Error::Execute(failure) = &error else { panic!("{error:?}") };
    let group = failure.group.clone().expect("it is behind an exchange");
    let position = (u64::from(group.partition) << 40) + group.element;
    assert_eq!(failure.index, position, "the index is the position");
    assert!(error.to_string().contains(&format!("failed at {group} (stage ")), "{error}");
    (group, failure.error.message().to_owned())
}

/// `case` is failing for ever.
const BROKEN: Case = Case(63);

#[tokio::test]
async fn an_element_that_fails_behind_an_exchange_is_named_by_its_key_and_place() {
    let runtime = runtime().await;
    let named = |group: &Group| {
        let key = group.key.as_ref().expect("its partition is there");
        assert_eq!((key.to_string(), key.bytes()), ("\"pear\"".to_owned(), &b"\x04pear"[..]));
        let place = format!("element {} of partition {}", group.element, group.partition);
        assert_eq!(group.to_string(), format!("key \"pear\", {place}"));
    };
    let grouped = || fruit().group_by_key().partitions(1);
    let (group, _) = failing(&runtime, grouped().map(PassGroup { case: BROKEN })).await;
    assert_eq!((group.partition, group.element), (0, 1), "the second key");
    named(&group);
    named(&failing(&runtime, grouped().map_values(PassValues { case: BROKEN })).await.0);
    let names = || IndexedStream::from(["fig", "pear", "fig"].map(String::from));
    named(&failing(&runtime, names().count_by_value().map(PassPair { case: BROKEN })).await.0);
    named(&failing(&runtime, names().distinct().map(PassName { case: BROKEN })).await.0);
    named(&failing(&runtime, fruit().reduce_by_key(AddFruit { case: BROKEN })).await.0);
    named(&failing(&runtime, fruit().fold_by_key(SumFruit(BROKEN))).await.0);
    named(&failing(&runtime, fruit().reduce_by_key(Add).map(PassPair { case: BROKEN })).await.0);
    let joined = fruit().left_join(IndexedStream::from([("pear".to_owned(), 5)]));
    named(&failing(&runtime, joined.map(PassJoined { case: BROKEN })).await.0);

    // The context of the operation has the same number.
    let (group, text) = failing(&runtime, names().distinct().map(TellIndex)).await;
    assert_eq!(text, ((u64::from(group.partition) << 40) + group.element).to_string());
    // In a later stage the key is not known any more, but the place is.
    let later = names().distinct().map(PassName { case: Case(62) }).pool("elsewhere");
    Case(62).mend();
    let (group, text) = failing(&runtime, later.map(TellIndex)).await;
    assert_eq!(group.key, None);
    assert_eq!(text, ((u64::from(group.partition) << 40) + group.element).to_string());
    runtime.close().await;
}

#[tokio::test]
async fn events_of_elements_behind_an_exchange_name_their_keys() {
    let runtime = runtime().await;
    let program = fruit().union(fruit()).group_by_key().map(Stumble).on_failure(OnFailure::Skip);
    let (job, results) = program.start(&runtime).unwrap();
    let mut events = job.events();
    assert_eq!(soon("the others", results.collect()).await.unwrap().len(), 1);
    let (mut retried, mut skipped) = (Vec::new(), Vec::new());
    while let Some(event) = events.next().await {
        let named = |group: Option<Group>| group.unwrap().key.unwrap().to_string();
        match event {
            JobEvent::ElementRetried { group, .. } => retried.push(named(group)),
            JobEvent::ElementSkipped { group, .. } => skipped.push(named(group)),
            _ => {}
        }
    }
    skipped.sort();
    assert_eq!(
        (&retried[..], &skipped[..]),
        (&["\"pear\"".to_owned()][..], &["\"apple\"".to_owned(), "\"pear\"".to_owned()][..])
    );
    runtime.close().await;
}

/// Runs a program in which the pear fails and is skipped; then mends it, and replays its dead
/// letter. Returns the encoded element.
async fn replayed<T: phalanx::operation::Data>(
    runtime: &Runtime,
    letters: &DeadLetters,
    case: Case,
    program: IndexedStream<T>,
) -> Vec<u8> {
    let program = program.on_failure(OnFailure::Skip);
    soon("the others", program.collect(runtime)).await.unwrap();
    until("its dead letter", async || !letters.list(2).await.unwrap().is_empty()).await;
    let [entry] = &letters.list(2).await.unwrap()[..] else { panic!("one element failed") };
    let DeadLetterEntry::Element(header) = entry else { panic!("{entry:?}") };
    assert_eq!(header.left_out, None, "{header:?}");
    if let Some(group) = &header.error.group {
        assert!(entry.to_string().contains(&format!("failed at {group} of job")), "{entry}");
        assert_eq!(group.key.as_ref().unwrap().to_string(), "\"pear\"");
    }
    let content = letters.show(entry.id()).await.unwrap();
    soon("a failure", letters.replay(entry.id())).await.unwrap_err();
    case.mend();
    soon("a replay", letters.replay(entry.id())).await.unwrap();
    assert!(letters.list(1).await.unwrap().is_empty(), "what succeeds is deleted");
    content.payload.to_vec()
}

#[tokio::test]
async fn an_element_that_fails_behind_an_exchange_leaves_a_dead_letter_that_can_be_replayed() {
    let runtime = &runtime().await;
    let letters = &runtime.dead_letters(&Pool::default());
    let names = || IndexedStream::from(["fig", "pear", "fig"].map(String::from));
    let (pear, group) = (b"\x04pear", b"\x04pear\x02\x64\x07");
    let program = fruit().group_by_key().map(PassGroup { case: Case(0) });
    assert_eq!(replayed(runtime, letters, Case(0), program).await, group);
    let program = names().count_by_value().map(PassPair { case: Case(1) });
    assert_eq!(replayed(runtime, letters, Case(1), program).await, b"\x04pear\x01");
    let program = names().distinct().map(PassName { case: Case(2) });
    assert_eq!(replayed(runtime, letters, Case(2), program).await, pear);
    let one = IndexedStream::from([("pear".to_owned(), 9)]);
    let joined = one.left_join(IndexedStream::from([("pear".to_owned(), 5)]));
    let program = joined.map(PassJoined { case: Case(3) });
    assert_eq!(replayed(runtime, letters, Case(3), program).await, b"\x04pear\x09\x01\x05");
    // The first step looks at a part of a pair, so the element is framed.
    let framed = [&[5, 3][..], group].concat();
    let program = fruit().group_by_key().map_values(PassValues { case: Case(4) });
    assert_eq!(replayed(runtime, letters, Case(4), program).await, framed);
    runtime.clone().close().await;
}

#[tokio::test]
async fn the_dead_letter_of_a_key_whose_values_are_combined_has_its_pairs() {
    let runtime = &runtime().await;
    let letters = &runtime.dead_letters(&Pool::default());
    let pairs = b"\x05\x01\x04pear\x64\x05\x01\x04pear\x07";
    let program = fruit().reduce_by_key(AddFruit { case: Case(10) });
    assert_eq!(replayed(runtime, letters, Case(10), program).await, pairs);
    let program = fruit().fold_by_key(SumFruit(Case(11)));
    assert_eq!(replayed(runtime, letters, Case(11), program).await, pairs);
    let program = fruit().reduce_by_key(Add).map(PassPair { case: Case(12) });
    assert_eq!(replayed(runtime, letters, Case(12), program).await, pairs);
    runtime.clone().close().await;
}

#[tokio::test]
async fn the_dead_letter_of_an_element_of_a_source_whose_first_step_looks_at_keys_is_framed() {
    let runtime = &runtime().await;
    let letters = &runtime.dead_letters(&Pool::default());
    let program = fruit().map_values(PassCount { case: Case(20) });
    assert_eq!(replayed(runtime, letters, Case(20), program).await, b"\x05\x01\x04pear\x64");
    let program =
        IndexedStream::from(["fig", "pear"].map(String::from)).key_by(Initial { case: Case(21) });
    assert_eq!(replayed(runtime, letters, Case(21), program).await, b"\x05\x00\x04pear");
    runtime.clone().close().await;
}

#[tokio::test]
async fn a_failure_that_became_a_value_passes_steps_by_key() {
    let runtime = runtime().await;
    let names = || IndexedStream::from(["fig", "pear"].map(String::from));
    let keyed = names().try_map(PassName { case: BROKEN }).key_by(Succeeded);
    let keyed = soon("all", keyed.collect(&runtime)).await.unwrap();
    assert_eq!(keyed.iter().map(|(ok, _)| *ok).collect::<Vec<_>>(), [true, false]);
    let groups = names().try_map(PassName { case: BROKEN }).group_by(Succeeded);
    let groups = soon("all", groups.collect_map(&runtime)).await.unwrap();
    // Through the leader.
    let keyed = names().try_map(PassName { case: BROKEN }).pool("elsewhere").key_by(Succeeded);
    let keyed = soon("all", keyed.collect(&runtime)).await.unwrap();
    assert_eq!(keyed.iter().map(|(ok, _)| *ok).collect::<Vec<_>>(), [true, false]);
    assert!(groups[&true].len() == 1 && groups[&false][0].is_err(), "{groups:?}");
    runtime.close().await;
}

/// The number of runs of tasks of `stumble_on_even`.
static RUNS: AtomicU64 = AtomicU64::new(0);

/// Fails for even keys on the first try.
#[operation]
fn stumble_on_even((key, values): (u64, Vec<u64>), cx: &TaskContext) -> Result<u64> {
    // A run begins with the first element of its batch.
    RUNS.fetch_add(u64::from(cx.offset() == 0), Relaxed);
    if key % 2 == 0 && cx.tries() == 1 {
        return Err(OperationError::fatal("busy").transient());
    }
    Ok(key + values.len() as u64)
}

#[tokio::test]
async fn groups_that_fail_apart_from_each_other_are_retried_in_few_tasks() {
    let runtime = runtime().await;
    let pairs = IndexedStream::from((0..4_000_u64).map(|key| (key, key)).collect::<Vec<_>>());
    let program = pairs.group_by_key().partitions(1).map(StumbleOnEven);
    let (job, results) = program.start(&runtime).unwrap();
    let results = soon("all groups", results.collect()).await.unwrap();
    let mut found: Vec<u64> = results.into_iter().map(|(_, found)| found).collect();
    found.sort_unstable();
    assert!(found.into_iter().eq(1..=4_000));
    assert_eq!(job.progress().borrow().retried, 2_000);
    // Each run brings the whole partition. A slow one ends with its time slice.
    let runs = RUNS.load(Relaxed);
    assert!(runs < 50, "{runs} runs");
    runtime.close().await;
}
