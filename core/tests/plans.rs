//! Programs as users write them, and the plans that are built from them.

use std::time::Duration;

use futures::stream;
use phalanx_core::{
    operation::{Failure, Monoid, Result, TaskContext},
    plan::{IndexedStream, OnFailure, PlanError},
};
use phalanx_macros::{RemoteExecute, operation};
use serde::{Deserialize, Serialize};

#[operation(crate = phalanx_core)]
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[operation(crate = phalanx_core)]
fn is_long(#[state] than: usize, word: &str) -> bool {
    word.len() > than
}

#[operation(crate = phalanx_core)]
fn parse(text: &str) -> Result<u64> {
    Ok(text.parse()?)
}

#[operation(crate = phalanx_core, pool = "io", timeout = "30s", retries = 5)]
async fn look_up(word: String) -> u64 {
    word.len() as u64
}

#[operation(crate = phalanx_core)]
fn or_zero(parsed: Result<u64, Failure>) -> u64 {
    parsed.unwrap_or_default()
}

#[operation(crate = phalanx_core)]
fn larger(a: u64, b: u64) -> u64 {
    a.max(b)
}

#[operation(crate = phalanx_core)]
fn note(_number: u64) {}

#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core)]
struct Sum;

impl Monoid for Sum {
    type Elem = u64;

    fn empty(&self) -> u64 {
        0
    }

    fn combine(&self, a: u64, b: u64, _cx: &TaskContext) -> Result<u64> {
        Ok(a + b)
    }
}

/// A generic operation of which no instance is registered.
#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core)]
struct Generic<T>(T);

impl phalanx_core::operation::Operation for Generic<u8> {
    type Input = u64;
    type Output = u64;

    fn execute(&self, input: u64, _cx: &TaskContext) -> Result<u64> {
        Ok(input)
    }
}

fn texts() -> IndexedStream<String> {
    IndexedStream::from(["1 2 drei".to_owned(), "4".to_owned()])
}

#[test]
fn operations_of_all_kinds_compose() {
    let program = texts()
        .flat_map(Words)
        .filter(IsLong { than: 0 })
        .try_map(Parse)
        .map(OrZero)
        .fold(Sum)
        .deterministic();
    insta::assert_snapshot!(program.explain().unwrap(), @r"
    source   2 elements
    stage 0  pool `default`, 2 steps fused into one pass, tasks of adaptive size
               flat_map plans::Words
               filter   plans::IsLong
             (elements pass through the leader)
    stage 1  pool `default`, 2 steps fused into one pass, tasks of adaptive size
               try_map  plans::Parse
               map      plans::OrZero
             (elements pass through the leader)
    stage 2  pool `default`, one step, tasks of adaptive size
               fold     plans::Sum
    end      one value, folded in input order, by a tree of fixed shape
    ");
}

#[test]
fn a_program_can_override_the_settings_that_an_operation_declares() {
    let program = texts()
        .map(LookUp)
        .on_failure(OnFailure::Skip)
        .map(Note)
        .pool("gpu")
        .retries(0)
        .timeout(Duration::from_millis(1500))
        .batch(10)
        .ordered()
        .take(7);
    insta::assert_snapshot!(program.explain().unwrap(), @r"
    source   2 elements
    stage 0  pool `io`, one step, tasks of adaptive size
               map      plans::LookUp  (asynchronous, timeout 30s, retries 5, skips failed elements)
             (elements pass through the leader)
    stage 1  pool `gpu`, one step, tasks of 10 elements
               map      plans::Note  (timeout 1.5s, retries 0)
    end      a stream, in input order, cut after 7 elements
    ");
}

#[test]
fn each_end_is_described() {
    let numbers = || texts().map(LookUp);
    let ends = [
        numbers().explain(),
        numbers().ordered().explain(),
        numbers().first().explain(),
        numbers().reduce(Larger).explain(),
        numbers().count().explain(),
        numbers().for_each(Note).explain(),
    ];
    let ends: Vec<String> =
        ends.map(|plan| plan.unwrap().lines().last().unwrap().to_owned()).into();
    insta::assert_snapshot!(ends.join("\n"), @r"
    end      a stream, as completed
    end      a stream, in input order
    end      a stream, in input order, cut after 1 element
    end      one value, folded in input order
    end      the number of elements
    end      the number of elements
    ");
}

#[test]
fn every_kind_of_source_can_be_planned() {
    let endless = IndexedStream::from_stream(stream::repeat(1u64)).map(Note).explain().unwrap();
    assert!(endless.contains("endless"), "{endless}");
    let lines = std::iter::repeat_with(|| Ok::<_, std::io::Error>("1".to_owned())).take(3);
    let fallible = IndexedStream::try_from_iter(lines).map(Parse).explain().unwrap();
    assert!(fallible.contains("3 elements"), "{fallible}");
    let failing = stream::once(async { Err::<u64, _>("no") });
    let failing = IndexedStream::try_from_stream(failing).map(Note).explain().unwrap();
    assert!(failing.contains("1 element"), "{failing}");
}

#[test]
fn an_instance_that_is_not_registered_is_rejected_by_name() {
    let program = IndexedStream::from([1u64]).map(Generic(7u8)).map(Note);
    let error = program.explain().unwrap_err();
    assert!(matches!(error, PlanError::Registry(_)), "{error}");
    assert!(error.to_string().contains("Generic<u8>"), "{error}");
}

#[test]
fn directives_other_than_maps_are_rejected_after_a_take() {
    let error = texts().map(Parse).take(3).map(Note).count().explain().unwrap_err();
    assert_eq!(error, PlanError::AfterTake { directive: "count" });
}
