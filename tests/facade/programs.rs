//! Sources, directives and ends, on workers in memory.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use anyhow::Context as _;
use futures::stream;
use phalanx::{Error, Failure, bail, ensure, prelude::*};
use phalanx_test_support::soon;

#[operation]
fn double(n: u64) -> u64 {
    2 * n
}

#[operation]
fn is_even(n: &u64) -> bool {
    n.is_multiple_of(2)
}

#[operation]
fn up_to(n: u64) -> Vec<u64> {
    (0..n).collect()
}

#[operation]
fn below_five(n: u64) -> Result<u64> {
    if n < 5 { Ok(n) } else { Err(format!("{n} is too large").into()) }
}

/// The element and its key, at each run of [`SucceedOnTheSecondTry`].
static KEYS: Mutex<Vec<(u64, String)>> = Mutex::new(Vec::new());

#[operation]
fn succeed_on_the_second_try(n: u64, cx: &TaskContext) -> Result<u64> {
    KEYS.lock().unwrap().push((n, cx.element_key().to_string()));
    match cx.tries() {
        1 => Err(OperationError::fatal("busy").with_retry_delay(Duration::from_millis(1))),
        _ => Ok(n),
    }
}

#[operation]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[operation]
async fn double_slowly(n: u64) -> u64 {
    tokio::task::yield_now().await;
    2 * n
}

#[operation]
fn nothing(_n: u64) {}

#[operation]
fn shown(outcome: Result<u64, Failure>) -> String {
    outcome.map_or_else(|error| error.to_string(), |n| n.to_string())
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

/// Runs a test on separate workers.
fn test<F: Future<Output = ()>>(body: impl FnOnce(Runtime) -> F) {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    tokio.block_on(async {
        let runtime = Runtime::connect("memory://").await.unwrap();
        soon("the test", body(runtime)).await;
    });
    // A source that still blocks a thread must not delay the end of the test.
    tokio.shutdown_background();
}

/// The extension traits of other crates are in scope together with the prelude.
mod beside_other_streams {
    use phalanx::prelude::*;
    use tokio_stream::StreamExt;

    use super::{Double, test};

    #[test]
    fn the_prelude_goes_together_with_the_extension_traits_of_other_crates() {
        test(async |runtime| {
            let input = || tokio_stream::iter([1, 2]).map(|n: u64| n + 1);
            let program = || IndexedStream::from_stream(input()).map(Double).ordered();
            let mut results = program().run(&runtime).await.unwrap();
            assert_eq!(results.next().await.unwrap().unwrap(), (0, 4));
            assert_eq!(results.try_next().await.unwrap(), Some((1, 6)));
            assert!(results.collect().await.unwrap().is_empty());
        });
    }
}

/// Runs a program inside of an operation, on the thread of its slot.
#[operation]
fn nest(n: u64, _cx: &TaskContext) -> Result<u64> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let inner = async {
        let runtime = Runtime::connect("memory://").await?;
        IndexedStream::from([n]).map(Double).count().run(&runtime).await
    };
    let count: Result<u64, Error> = tokio.block_on(inner);
    Ok(count?)
}

#[test]
fn a_program_inside_of_a_blocking_operation_is_refused_at_once_with_the_name_of_the_operation() {
    test(async |runtime| {
        let program = IndexedStream::from(0..64u64).map(Nest).batch(1);
        let error = program.collect(&runtime).await.unwrap_err().to_string();
        assert!(error.contains("facade::programs::Nest` runs a program inside of it"), "{error}");
    });
}

async fn sorted<T: Ord>(results: Results<T>) -> Vec<(u64, T)> {
    let mut items = results.collect().await.unwrap();
    items.sort();
    items
}

#[test]
fn results_carry_their_source_index() {
    test(async |runtime| {
        let program = IndexedStream::from(0..6u64).filter(IsEven).map(Double);
        let results = program.run(&runtime).await.unwrap();
        assert_eq!(sorted(results).await, [(0, 0), (2, 4), (4, 8)]);
        let results = IndexedStream::from([2u64, 0, 1]).flat_map(UpTo).ordered();
        let results = results.run(&runtime).await.unwrap().collect().await;
        assert_eq!(results.unwrap(), [(0, 0), (0, 1), (2, 0)]);
    });
}

#[test]
fn collected_outputs_are_in_input_order() {
    test(async |runtime| {
        let program = IndexedStream::from(0..10_000u64).map(Double).map(DoubleSlowly);
        let expected: Vec<u64> = (0..10_000).map(|n| 4 * n).collect();
        assert_eq!(program.collect(&runtime).await.unwrap(), expected);
    });
}

#[test]
fn every_end_yields_a_value_for_an_empty_input() {
    test(async |runtime| {
        let none = || IndexedStream::from(Vec::<u64>::new()).map(Double);
        assert!(none().collect(&runtime).await.unwrap().is_empty());
        assert_eq!(none().reduce(Add).run(&runtime).await.unwrap(), None);
        assert_eq!(none().count().run(&runtime).await.unwrap(), 0);
        assert_eq!(none().first().run(&runtime).await.unwrap(), None);
        none().for_each(Nothing).run(&runtime).await.unwrap();
        let none = IndexedStream::from(Vec::<String>::new());
        assert_eq!(none.fold(Concat).run(&runtime).await.unwrap(), "");
    });
}

#[test]
fn every_end_yields_its_value() {
    test(async |runtime| {
        let some = || IndexedStream::from(0..1000u64).map(Double);
        assert_eq!(some().reduce(Add).run(&runtime).await.unwrap(), Some(999_000));
        assert_eq!(some().filter(IsEven).count().run(&runtime).await.unwrap(), 1000);
        assert_eq!(some().first().run(&runtime).await.unwrap(), Some(0));
        some().for_each(Nothing).run(&runtime).await.unwrap();
        let letters = || IndexedStream::from(('a'..='z').map(String::from));
        let alphabet: String = ('a'..='z').collect();
        assert_eq!(letters().fold(Concat).run(&runtime).await.unwrap(), alphabet);
        let fixed = letters().batch(1).fold(Concat).deterministic();
        assert_eq!(fixed.run(&runtime).await.unwrap(), alphabet);
    });
}

#[test]
fn a_program_without_steps_yields_its_input() {
    test(async |runtime| {
        let input = || IndexedStream::from(0..3u64);
        assert_eq!(input().collect(&runtime).await.unwrap(), [0, 1, 2]);
        assert_eq!(input().count().run(&runtime).await.unwrap(), 3);
        assert_eq!(input().first().run(&runtime).await.unwrap(), Some(0));
    });
}

#[test]
fn an_endless_input_is_read_only_as_far_as_needed() {
    test(async |runtime| {
        let endless = || IndexedStream::from(0u64..).map(Double);
        assert_eq!(endless().first().run(&runtime).await.unwrap(), Some(0));
        assert_eq!(endless().take(3).collect(&runtime).await.unwrap(), [0, 2, 4]);
        let any = endless().take(100).run(&runtime).await.unwrap();
        assert_eq!(any.collect().await.unwrap().len(), 100);
        let cut = IndexedStream::from_stream(stream::repeat(7u64)).take(4).map(Double).reduce(Add);
        assert_eq!(cut.run(&runtime).await.unwrap(), Some(56));
        assert!(endless().take(0).collect(&runtime).await.unwrap().is_empty());
    });
}

#[test]
fn an_input_error_names_the_source_among_several() {
    test(async |runtime| {
        let fine = || IndexedStream::from(0..100u64);
        let failing = || {
            IndexedStream::try_from_iter(
                (0..9u64).map(|n| if n < 3 { Ok(n) } else { Err("on fire") }),
            )
        };
        let pairs = |numbers: IndexedStream<u64>| numbers.key_by(Double);
        for (program, number) in [
            (fine().union(failing()).union(fine()).map(Double).count(), 1),
            (failing().union(fine()).map(Double).count(), 0),
            (pairs(fine()).join(pairs(fine()).union(pairs(failing()))).count(), 2),
        ] {
            let explained = program.explain().unwrap();
            assert!(explained.contains(&format!("source {number}: ")), "{explained}");
            let error = program.run(&runtime).await.unwrap_err();
            let Error::Input { input, index, .. } = &error else { panic!("{error}") };
            assert_eq!((*input, *index), (Some(number), 3));
            let expected = format!(": source {number} failed at element 3: on fire");
            assert!(error.to_string().ends_with(&expected), "{error}");
        }
        let error = failing().map(Double).count().run(&runtime).await.unwrap_err();
        assert!(error.to_string().contains(": the input failed at element 3: "), "{error}");
    });
}

#[test]
fn an_input_error_fails_the_job_with_its_source_index() {
    test(async |runtime| {
        let input = || (0..100u64).map(|n| if n < 60 { Ok(n) } else { Err("disk on fire") });
        for program in [
            IndexedStream::try_from_iter(input()),
            IndexedStream::try_from_stream(stream::iter(input())),
        ] {
            match program.map(Double).count().run(&runtime).await {
                Err(Error::Input { index: 60, source, .. }) => {
                    assert_eq!(source.to_string(), "disk on fire");
                }
                other => panic!("{other:?}"),
            }
        }
        let panicking = (0..9u64).map(|n| if n < 3 { n } else { panic!("at {n}") });
        match IndexedStream::from(panicking).map(Double).collect(&runtime).await {
            Err(Error::Input { index: 3, source, .. }) => {
                assert_eq!(source.to_string(), "the input panicked: at 3");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn an_input_that_pauses_still_yields_its_results() {
    test(async |runtime| {
        let (feed, fed) = mpsc::channel::<u64>();
        let program = IndexedStream::from(fed).map(Double);
        let mut results = program.run(&runtime).await.unwrap();
        for n in 0..5 {
            feed.send(n).unwrap();
            assert_eq!(results.next().await.unwrap().unwrap(), (n, 2 * n));
        }
        drop(feed);
        assert!(results.next().await.is_none());
    });
}

#[test]
fn dropping_the_results_cancels_the_job_and_drops_its_input() {
    test(async |runtime| {
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        let endless = (0u64..).inspect(move |_| {
            let _held = &held;
        });
        let mut results = IndexedStream::from(endless).map(Double).run(&runtime).await.unwrap();
        results.next().await.unwrap().unwrap();
        drop(results);
        assert!(dropped.await.is_err());
    });
}

#[test]
fn a_job_can_be_cancelled_by_its_handle() {
    test(async |runtime| {
        let program = IndexedStream::from_stream(stream::pending::<u64>()).map(Double);
        let (job, mut results) = program.start(&runtime).unwrap();
        job.cancel();
        assert!(matches!(results.next().await, Some(Err(Error::Cancelled { .. }))));
        assert!(results.next().await.is_none());
    });
}

#[test]
fn a_failed_element_fails_the_job_or_is_skipped_or_becomes_a_value() {
    test(async |runtime| {
        let input = || IndexedStream::from([1u64, 7, 3]);
        match input().map(Double).map(BelowFive).batch(3).collect(&runtime).await {
            Err(Error::Execute(error)) => {
                assert_eq!((error.index, error.tries), (1, 1));
                assert!(error.operation.ends_with("BelowFive"), "{error}");
                assert_eq!(error.error.message(), "14 is too large");
            }
            other => panic!("{other:?}"),
        }
        let skipping = input().map(BelowFive).on_failure(OnFailure::Skip);
        assert_eq!(skipping.collect(&runtime).await.unwrap(), [1, 3]);
        let shown = input().try_map(BelowFive).map(Shown).collect(&runtime).await.unwrap();
        assert_eq!((shown[0].as_str(), shown[2].as_str()), ("1", "3"));
        assert!(shown[1].contains("BelowFive` failed (try 1, worker "), "{}", shown[1]);
        assert!(shown[1].ends_with("): 7 is too large"), "{}", shown[1]);
    });
}

#[operation]
fn reciprocal(n: u64) -> anyhow::Result<u64> {
    anyhow::ensure!(n > 0, "{n} has no reciprocal");
    if n > 1000 {
        anyhow::bail!("{n} is too large");
    }
    let text = format!("{n}").parse::<u64>().context("parsing")?;
    Ok(1000 / text)
}

#[operation]
fn checked(n: u64) -> Result<u64> {
    ensure!(n < 5, "{n} is too large");
    if n == 4 {
        bail!(std::io::Error::other("the disk is on fire"));
    }
    if n == 3 {
        bail!("{} is odd", n);
    }
    ensure!(n != 2);
    Ok(reciprocal(n).context("no reciprocal")?)
}

#[test]
fn an_operation_fails_with_ensure_and_bail_of_phalanx_and_of_anyhow() {
    test(async |runtime| {
        let outcomes = IndexedStream::from(0..=5).try_map(Checked).collect(&runtime).await.unwrap();
        let texts: Vec<String> = outcomes
            .iter()
            .map(|outcome| match outcome {
                Ok(value) => value.to_string(),
                Err(failure) => failure.error.to_string(),
            })
            .collect();
        let expected = [
            "no reciprocal: 0 has no reciprocal",
            "1000",
            "condition failed: `n != 2`",
            "3 is odd",
            "the disk is on fire",
            "5 is too large",
        ];
        assert_eq!(texts, expected);
        let large = IndexedStream::from([2, 2000]).map(Reciprocal).collect(&runtime).await;
        assert!(large.unwrap_err().to_string().ends_with(": 2000 is too large"));
    });
}

#[test]
fn a_failure_passes_through_the_question_mark_of_anyhow() {
    test(async |runtime| {
        let sum = async || -> anyhow::Result<u64> {
            let mut sum = 0;
            for outcome in IndexedStream::from([1, 7]).try_map(BelowFive).collect(&runtime).await? {
                sum += outcome?;
            }
            Ok(sum)
        };
        let error = sum().await.unwrap_err();
        let failure: &Failure = error.downcast_ref().unwrap();
        assert_eq!((failure.tries, failure.error.message()), (1, "7 is too large"));
    });
}

#[test]
fn unread_results_are_bounded_and_starve_no_other_job() {
    test(async |runtime| {
        let pulled = Arc::new(AtomicU64::new(0));
        let count = pulled.clone();
        let endless = (0u64..).map(move |n| {
            count.fetch_add(1, Ordering::Relaxed);
            vec![n; 1000]
        });
        let mut unread = IndexedStream::from(endless).run(&runtime).await.unwrap();
        unread.next().await.unwrap().unwrap();
        for _ in 0..10 {
            let program = IndexedStream::from(0..10_000u64).map(Double);
            assert_eq!(program.count().run(&runtime).await.unwrap(), 10_000);
        }
        // A job may hold 32 MiB; each element has at least 1 kB. Twice that allows for decoded
        // results.
        assert!(pulled.load(Ordering::Relaxed) < 2 * 32 * 1024);
    });
}

#[test]
fn every_try_of_an_element_has_the_same_key_and_no_other_element_has_it() {
    test(async |runtime| {
        let program = IndexedStream::from(0..3u64).map(SucceedOnTheSecondTry);
        assert_eq!(program.collect(&runtime).await.unwrap(), [0, 1, 2]);
        let mut keys = KEYS.lock().unwrap().clone();
        keys.sort();
        assert_eq!(keys.len(), 6, "each element runs twice");
        assert!(keys.chunks(2).all(|tries| tries[0] == tries[1]), "{keys:?}");
        keys.dedup_by(|one, other| one.1 == other.1);
        assert_eq!(keys.len(), 3, "{keys:?}");
    });
}

#[test]
fn a_union_has_the_elements_of_both_streams_and_collects_those_of_the_first_before_the_others() {
    test(async |runtime| {
        let small = || IndexedStream::from(0..500u64).map(Double);
        let large = || IndexedStream::from(1_000..1_300u64);
        let expected: Vec<u64> = (0..500).map(|n| 2 * n).chain(1_000..1_300).collect();
        assert_eq!(small().union(large()).collect(&runtime).await.unwrap(), expected);

        let doubled = small().union(large()).map(Double);
        let results: Vec<(u64, u64)> =
            doubled.run(&runtime).await.unwrap().collect().await.unwrap();
        let mut outputs = 0;
        assert!(
            results
                .iter()
                .all(|(number, _)| std::mem::replace(&mut outputs, number + 1) == *number)
        );
        let sum = expected.iter().sum();
        assert_eq!(results.iter().map(|(_, n)| n).sum::<u64>(), 2 * sum);

        assert_eq!(small().union(large()).reduce(Add).run(&runtime).await.unwrap(), Some(sum));
        assert_eq!(small().union(large()).count().run(&runtime).await.unwrap(), 800);
        let last = large().union(small()).take(302).collect(&runtime).await.unwrap();
        assert_eq!(last[298..], [1_298, 1_299, 0, 2]);
        let nothing = || IndexedStream::from([0u64; 0]);
        assert_eq!(nothing().union(nothing()).reduce(Add).run(&runtime).await.unwrap(), None);
        let letters = || IndexedStream::from(["a", "b"].map(String::from));
        let one_side = IndexedStream::from(Vec::<String>::new()).union(letters()).union(letters());
        assert_eq!(one_side.fold(Concat).run(&runtime).await.unwrap(), "abab");
    });
}

#[test]
fn one_side_of_a_union_that_waits_for_its_input_keeps_the_other_from_nothing() {
    test(async |runtime| {
        let (sender, receiver) = mpsc::channel::<u64>();
        let waiting = IndexedStream::from(receiver).map(Double);
        let mut results =
            waiting.union(IndexedStream::from(0..100u64)).run(&runtime).await.unwrap();
        for _ in 0..100 {
            results.next().await.unwrap().unwrap();
        }
        sender.send(21).unwrap();
        assert_eq!(results.next().await.unwrap().unwrap(), (100, 42));
        drop(sender);
        assert!(results.next().await.is_none());
    });
}

#[test]
fn an_input_error_on_one_side_of_a_union_comes_after_what_precedes_it() {
    test(async |runtime| {
        let failing = || {
            let elements = [Ok(7), Err(std::io::Error::other("the disk is gone"))];
            IndexedStream::<u64>::try_from_iter(elements)
        };
        let good = || IndexedStream::from(0..50u64).map(Double);
        let mut results =
            good().union(failing()).union(good()).ordered().run(&runtime).await.unwrap();
        for expected in (0..50).map(|n| 2 * n).chain([7]) {
            assert_eq!(results.next().await.unwrap().unwrap().1, expected);
        }
        let error = results.next().await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Input { index: 1, .. }), "{error}");
        assert!(results.next().await.is_none());
        for program in [failing().union(good()), good().union(failing())] {
            let error = program.reduce(Add).run(&runtime).await.unwrap_err();
            assert!(matches!(error, Error::Input { index: 1, .. }), "{error}");
        }
    });
}

#[test]
fn a_stream_can_be_the_union_of_many() {
    test(async |runtime| {
        let parts = (0..1_000u64).map(|n| IndexedStream::from(n..n + 1).map(Double));
        let all = parts.reduce(IndexedStream::union).unwrap();
        let expected: Vec<u64> = (0..1_000).map(|n| 2 * n).collect();
        assert_eq!(all.collect(&runtime).await.unwrap(), expected);
    });
}
