//! Operations that the derive placed, found by name and run through the erased step.

use std::sync::Arc;

use phalanx_core::{
    AsyncOperation, Monoid, Operation, RemoteExecute,
    codec::{decode, encode},
    operation,
    operation::{ErrorKind, OperationError, Result, TaskContext},
    register,
    registry::{
        Column, CompiledStep, FailedElement, OperationKind, Refusal, Registry, RegistryError, Verb,
    },
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core, name = "test.multiply", timeout = "30s", retries = 5, pool = "gpu", version = 2)]
struct MultiplyBy(i64);

impl Operation for MultiplyBy {
    type Input = i64;
    type Output = i64;
    fn execute(&self, input: i64, _cx: &TaskContext) -> Result<i64> {
        Ok(self.0 * input)
    }
}

/// Fails at 3, panics at 5 and, with a payload that is not a string, at 7.
#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core)]
struct Touchy;

impl Operation for Touchy {
    type Input = u64;
    type Output = u64;
    fn execute(&self, input: u64, cx: &TaskContext) -> Result<u64> {
        match input {
            3 => Err(OperationError::fatal(format!("three at {}", cx.offset()))),
            5 => panic!("five"),
            7 => std::panic::panic_any(PayloadThatPanics),
            n => Ok(n * 10),
        }
    }
}

struct PayloadThatPanics;

impl Drop for PayloadThatPanics {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core)]
struct IsEven;

impl Operation for IsEven {
    type Input = u64;
    type Output = bool;
    fn execute(&self, input: u64, _cx: &TaskContext) -> Result<bool> {
        Ok(input.is_multiple_of(2))
    }
}

/// Counts up to its input; at four it fails in the middle of its items.
#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core)]
struct CountUp;

#[derive(Serialize, Deserialize)]
struct UpTo(u64);

impl IntoIterator for UpTo {
    type Item = u64;
    type IntoIter = Box<dyn Iterator<Item = u64>>;
    fn into_iter(self) -> Self::IntoIter {
        let limit = self.0;
        Box::new((0..limit).inspect(move |n| assert!((limit, *n) != (4, 2), "four")))
    }
}

impl Operation for CountUp {
    type Input = u64;
    type Output = UpTo;
    fn execute(&self, input: u64, _cx: &TaskContext) -> Result<UpTo> {
        Ok(UpTo(input))
    }
}

#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core)]
struct Join;

impl Monoid for Join {
    type Elem = String;
    fn empty(&self) -> String {
        String::new()
    }
    fn combine(&self, a: String, b: String, _cx: &TaskContext) -> Result<String> {
        if b == "!" { Err(OperationError::fatal("bang")) } else { Ok(a + &b) }
    }
}

#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core)]
struct Largest;

impl Operation for Largest {
    type Input = (u64, u64);
    type Output = u64;
    fn execute(&self, (a, b): (u64, u64), _cx: &TaskContext) -> Result<u64> {
        Ok(a.max(b))
    }
}

/// Waits until all others have started, so it ends only if they run concurrently.
#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core)]
struct Later;

impl AsyncOperation for Later {
    type Input = u64;
    type Output = u64;
    async fn execute(&self, input: u64, cx: &TaskContext) -> Result<u64> {
        // The later ones end first.
        tokio::time::sleep(std::time::Duration::from_millis(100 - input)).await;
        match input {
            5 => panic!("five"),
            9 => std::future::pending().await,
            _ => Ok(input + u64::from(cx.offset())),
        }
    }
}

#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core)]
struct Scale<T>(T);

impl<T> Operation for Scale<T>
where
    Self: RemoteExecute,
    T: Serialize + for<'de> Deserialize<'de> + Send + Copy + std::ops::Mul<Output = T> + 'static,
{
    type Input = T;
    type Output = T;
    fn execute(&self, input: T, _cx: &TaskContext) -> Result<T> {
        Ok(self.0 * input)
    }
}

register!(Scale<f64>);
register!(Scale<u32> => "scale.u32");

fn registry() -> &'static Registry {
    Registry::global().expect("operation names are unique")
}

fn compiled<O: RemoteExecute>(operation: &O, verb: Verb) -> Box<dyn CompiledStep> {
    let (reference, _) = registry().reference(operation, verb).expect("it can be planned");
    registry().compile(&reference).expect("it is part of this program")
}

fn column<T: Serialize>(step: &dyn CompiledStep, values: &[T]) -> Column {
    let bytes: Vec<u8> = values.iter().flat_map(|value| encode(value).unwrap()).collect();
    let mut rest = bytes.as_slice();
    let column = step.decode(&mut rest, 0, values.len() as u32, usize::MAX).unwrap();
    assert!(rest.is_empty());
    column
}

fn run<T: Serialize>(step: &dyn CompiledStep, values: &[T]) -> (Column, Vec<FailedElement>) {
    let mut failures = Vec::new();
    let output = step.run(column(step, values), &TaskContext::detached(), &mut failures);
    (output, failures)
}

#[test]
fn an_operation_is_found_by_name_with_what_it_declares() {
    let multiply = registry().get("test.multiply").unwrap();
    assert_eq!(multiply.version(), 2);
    assert_eq!(multiply.pool(), Some("gpu"));
    assert_eq!(multiply.timeout(), Some(std::time::Duration::from_secs(30)));
    assert_eq!(multiply.retries(), 5);
    assert_eq!(multiply.kind(), OperationKind::Blocking);
    assert!(multiply.place().starts_with("core/tests/registry.rs:"), "{}", multiply.place());
    assert_eq!(multiply.structure(), "version 2, state i64, input i64, output i64");
    assert!(registry().get("registry::Later").unwrap().is_async());
    assert_eq!(registry().get("registry::Join").unwrap().kind(), OperationKind::Monoid);
    assert_eq!(registry().get("registry::Join").unwrap().retries(), 3);
}

#[test]
fn a_map_decodes_runs_and_encodes() {
    let step = compiled(&MultiplyBy(-2), Verb::Map);
    assert!(step.is_one_to_one() && !step.is_async());
    let (output, failures) = run(&*step, &[1i64, 2, 300]);
    assert!(failures.is_empty());
    let (mut bytes, mut ends) = (vec![9], Vec::new());
    step.encode(&output, 1..3, &mut bytes, Some(&mut ends)).unwrap();
    assert_eq!(bytes[0], 9);
    assert_eq!(ends, [2, 4]);
    assert_eq!(decode::<(i64, i64)>(&bytes[1..]).unwrap(), (-4, -600));
}

#[test]
fn a_chunk_continues_after_elements_that_fail_or_panic() {
    let step = compiled(&Touchy, Verb::Map);
    let (output, failures) = run(&*step, &[1u64, 3, 2, 5, 7, 4]);
    assert_eq!(output.offsets, [0, 2, 5]);
    assert_eq!(output.values::<u64>().unwrap(), [10, 20, 40]);
    let offsets: Vec<u32> = failures.iter().map(|failure| failure.offset).collect();
    assert_eq!(offsets, [1, 3, 4]);
    assert_eq!(failures[0].error.message(), "three at 1");
    assert_eq!(failures[1].error.kind(), ErrorKind::Panic);
    let text = failures[1].error.message();
    assert!(
        text.starts_with("operation `registry::Touchy` panicked at core/tests/registry.rs:")
            && text.ends_with(": five"),
        "{text}"
    );
    assert!(failures[2].error.message().ends_with("with a value that is not a string"));
}

#[test]
fn try_map_wraps_outputs_in_ok() {
    let step = compiled(&Touchy, Verb::TryMap);
    let (output, failures) = run(&*step, &[1u64, 3]);
    assert_eq!(failures.len(), 1);
    let mut bytes = Vec::new();
    step.encode(&output, 0..1, &mut bytes, None).unwrap();
    assert_eq!(decode::<Result<u64>>(&bytes).unwrap(), Ok(10));
}

#[test]
fn a_filter_keeps_its_input() {
    let step = compiled(&IsEven, Verb::Filter);
    let (output, failures) = run(&*step, &[1u64, 2, 3, 4]);
    assert!(failures.is_empty());
    assert_eq!(output.into_values::<u64>().unwrap(), (vec![2, 4], vec![1, 3]));
}

#[test]
fn a_flat_map_yields_all_items_of_an_element_or_none() {
    let step = compiled(&CountUp, Verb::FlatMap);
    let (output, failures) = run(&*step, &[2u64, 4, 0, 1]);
    assert_eq!(output.into_values::<u64>().unwrap(), (vec![0, 1, 0], vec![0, 0, 3]));
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].offset, 1);
    assert!(failures[0].error.message().ends_with(": four"));
}

#[test]
fn outputs_are_compared_by_the_order_of_their_type() {
    let numbers = [3u64, 200, 7, 200].map(|n| encode(&n).unwrap());
    let numbers: Vec<&[u8]> = numbers.iter().map(|bytes| &bytes[..]).collect();
    for (step, verb) in [
        (compiled(&Touchy, Verb::Map), Verb::Map),
        (compiled(&Later, Verb::Map), Verb::Map),
        (compiled(&IsEven, Verb::Filter), Verb::Filter),
        (compiled(&CountUp, Verb::FlatMap), Verb::FlatMap),
    ] {
        let order = step.order(false).unwrap_or_else(|| panic!("{verb} of numbers"));
        assert_eq!(order.largest(&numbers, 2).unwrap(), [1, 3]);
        assert_eq!(order.largest(&numbers, 9).unwrap(), [0, 1, 2, 3]);
        assert!(order.largest(&numbers, 0).unwrap().is_empty());
        assert!(order.largest(&[&[0xff]], 1).is_none(), "not a number");
        assert!(step.order(true).is_none(), "no pairs");
    }
    assert!(compiled(&Scale(0.5), Verb::Map).order(false).is_none(), "floats have no order");
    assert!(compiled(&Touchy, Verb::TryMap).order(false).is_none(), "results are not numbers");
    assert!(compiled(&Touchy, Verb::MapValues).order(false).is_none(), "pairs are not numbers");
}

#[test]
fn the_largest_of_values_in_any_order_are_those_of_a_sort() {
    let order = compiled(&Touchy, Verb::Map).order(false).unwrap();
    let orders: [fn(u64) -> u64; 5] =
        [|n| n, |n| 500 - n, |_| 7, |n| n * 7_919 % 503, |n| n * 31 % 10];
    for value in orders {
        let values: Vec<u64> = (0..500).map(value).collect();
        let encoded: Vec<Vec<u8>> = values.iter().map(|n| encode(n).unwrap()).collect();
        let outputs: Vec<&[u8]> = encoded.iter().map(|bytes| &bytes[..]).collect();
        let mut sorted = values.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        for most in [0, 1, 2, 7, 249, 499, 500, usize::MAX] {
            let numbers = order.largest(&outputs, most).unwrap();
            assert!(numbers.is_sorted_by(|a, b| a < b), "ascending, each once");
            let mut largest: Vec<u64> = numbers.iter().map(|number| values[*number]).collect();
            largest.sort_unstable_by(|a, b| b.cmp(a));
            assert_eq!(largest, sorted[..most.min(500)]);
        }
    }
}

#[test]
fn pairs_of_equal_keys_are_compared_by_the_bytes_of_their_values() {
    let step = compiled(&Touchy, Verb::KeyBy);
    let pairs = [(1u64, "c"), (1, "a"), (0, "a"), (1, "b")].map(|pair| encode(&pair).unwrap());
    let pairs: Vec<&[u8]> = pairs.iter().map(|bytes| &bytes[..]).collect();
    let order = step.order(true).unwrap();
    assert_eq!(order.largest(&pairs, 2).unwrap(), [1, 3], "the smaller bytes come first");
    assert_eq!(order.largest(&pairs, 3).unwrap(), [0, 1, 3]);
    assert!(step.order(false).is_none(), "the order of the values is not known");
}

#[test]
fn other_items_of_a_failed_element_are_removed_and_not_run() {
    let step = compiled(&Touchy, Verb::Map);
    let mut failures = Vec::new();
    let siblings = Column::new(vec![1u64, 1, 3, 7, 1, 2], vec![0, 1, 1, 1, 1, 2]);
    let output = step.run(siblings, &TaskContext::detached(), &mut failures);
    assert_eq!(output.into_values::<u64>().unwrap(), (vec![10, 20], vec![0, 2]));
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].error.message(), "three at 1");
}

#[test]
fn a_fold_keeps_order_and_continues_after_a_failure() {
    let step = compiled(&Join, Verb::Fold);
    let cx = TaskContext::detached();
    let mut fold = step.fold().unwrap();
    let mut bytes = Vec::new();
    assert!(!fold.finish(&mut bytes).unwrap());
    fold.absorb(column(&*step, &["a", "b"]), &cx).unwrap();
    fold.absorb(column(&*step, &["c"]), &cx).unwrap();
    assert!(fold.finish(&mut bytes).unwrap());
    assert_eq!(decode::<String>(&bytes).unwrap(), "abc");

    let (failure, rest) = *fold.absorb(column(&*step, &["a", "!", "b", "c"]), &cx).unwrap_err();
    assert_eq!((failure.offset, failure.error.message()), (1, "bang"));
    assert_eq!(rest.offsets, [2, 3]);
    bytes.clear();
    assert!(!fold.finish(&mut bytes).unwrap(), "the accumulator is gone");
    fold.absorb(rest, &cx).unwrap();
    assert!(fold.finish(&mut bytes).unwrap());
    assert_eq!(decode::<String>(&bytes).unwrap(), "bc");
}

#[test]
fn a_fold_of_one_element_combines_nothing() {
    let step = compiled(&Join, Verb::Fold);
    let mut fold = step.fold().unwrap();
    fold.absorb(column(&*step, &["!"]), &TaskContext::detached()).unwrap();
    let mut bytes = Vec::new();
    assert!(fold.finish(&mut bytes).unwrap());
    assert_eq!(decode::<String>(&bytes).unwrap(), "!");
}

#[test]
fn an_operation_on_pairs_can_reduce() {
    let step = compiled(&Largest, Verb::Reduce);
    let mut fold = step.fold().unwrap();
    fold.absorb(column(&*step, &[3u64, 9, 4]), &TaskContext::detached()).unwrap();
    let mut bytes = Vec::new();
    assert!(fold.finish(&mut bytes).unwrap());
    assert_eq!(decode::<u64>(&bytes).unwrap(), 9);
}

#[tokio::test(start_paused = true)]
async fn asynchronous_elements_run_concurrently_in_order_each_within_its_timeout() {
    let step = compiled(&Later, Verb::Map);
    assert!(step.is_async());
    let cx = TaskContext::detached();
    let input = column(&*step, &[1u64, 5, 9, 2]);
    let second = std::time::Duration::from_secs(1);
    let started = tokio::time::Instant::now();
    let (output, failures) = step.run_async(input, cx.execution(), 4, Some(second)).await;
    assert_eq!(started.elapsed(), second);
    assert_eq!(output.into_values::<u64>().unwrap(), (vec![1, 5], vec![0, 3]));
    assert_eq!(failures.len(), 2);
    assert!(failures[0].error.message().ends_with(": five"));
    assert_eq!((failures[1].offset, failures[1].error.kind()), (2, ErrorKind::Timeout));
    assert_eq!(
        failures[1].error.message(),
        "operation `registry::Later` ran longer than its timeout of 1s"
    );
}

#[tokio::test(start_paused = true)]
async fn concurrent_asynchronous_elements_are_limited() {
    let step = compiled(&Later, Verb::Map);
    let cx = TaskContext::detached();
    let input = column(&*step, &[0u64, 0, 0, 0, 0]);
    let started = tokio::time::Instant::now();
    let (output, _) = step.run_async(input, cx.execution(), 2, None).await;
    assert_eq!(output.len(), 5);
    assert_eq!(started.elapsed(), std::time::Duration::from_millis(300));
    assert_eq!(Arc::strong_count(cx.execution()), 1, "the contexts of the elements are gone");
}

#[test]
fn instances_of_a_generic_operation_have_different_names() {
    assert!(registry().get("registry::Scale<f64>").is_some());
    let (output, _) = run(&*compiled(&Scale(0.5), Verb::Map), &[3.0]);
    assert_eq!(output.values::<f64>().unwrap(), [1.5]);
    let (reference, _) = registry().reference(&Scale(2u32), Verb::Map).unwrap();
    assert_eq!(reference.name, "scale.u32");
    let error = registry().reference(&Scale(1u8), Verb::Map).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`registry::Scale<u8>` is not registered; add \
         `phalanx::register!(registry::Scale<u8>);` next to the type"
    );
}

#[test]
fn a_verb_that_the_types_do_not_allow_is_rejected() {
    let error = registry().reference(&Touchy, Verb::Filter).map(drop).unwrap_err();
    assert!(matches!(error, RegistryError::Verb { verb: Verb::Filter, .. }), "{error}");
    for verb in [Verb::FlatMap, Verb::Fold, Verb::Reduce] {
        registry().reference(&Touchy, verb).map(drop).unwrap_err();
    }
    let (mut reference, _) = registry().reference(&Touchy, Verb::Map).unwrap();
    reference.verb = Verb::Fold;
    let refusal = registry().compile(&reference).err().unwrap();
    assert!(matches!(refusal, Refusal::Verb { .. }), "{refusal}");
}

#[test]
fn an_unknown_operation_is_refused_with_the_known_ones() {
    let (mut reference, _) = registry().reference(&Touchy, Verb::Map).unwrap();
    reference.name = "nobody".to_owned();
    let refusal = registry().compile(&reference).err().unwrap();
    let text = refusal.to_string();
    assert!(text.starts_with("unknown operation `nobody`; known: "), "{text}");
    assert!(text.contains("registry::IsEven, registry::Join"), "{text}");
}

#[test]
fn a_state_that_does_not_decode_is_refused() {
    let (mut reference, _) = registry().reference(&MultiplyBy(1), Verb::Map).unwrap();
    reference.state = bytes::Bytes::from_static(&[0x80]);
    let refusal = registry().compile(&reference).err().unwrap();
    assert!(matches!(refusal, Refusal::State { .. }), "{refusal}");
}

#[test]
fn a_batch_that_does_not_decode_is_refused_with_the_offset() {
    let step = compiled(&IsEven, Verb::Map);
    let mut bytes: &[u8] = &[1, 2, 0x80];
    let refusal = step.decode(&mut bytes, 7, 3, usize::MAX).err().unwrap();
    assert!(matches!(refusal, Refusal::Undecodable { offset: 9, .. }), "{refusal}");
    let mut bytes: &[u8] = &[1, 2, 3];
    let column = step.decode(&mut bytes, 0, 3, 2).unwrap();
    assert_eq!((column.len(), bytes), (2, [3u8].as_slice()));
}

#[test]
fn a_column_of_another_type_fails_element_by_element() {
    let step = compiled(&IsEven, Verb::Map);
    let other = Column::new(vec!["a", "b"], vec![4, 6]);
    assert!(!step.accepts(&other));
    assert!(step.accepts(&Column::new(vec![1u64], vec![0])));
    let mut failures = Vec::new();
    assert!(step.run(other, &TaskContext::detached(), &mut failures).is_empty());
    let offsets: Vec<u32> = failures.iter().map(|failure| failure.offset).collect();
    assert_eq!(offsets, [4, 6]);
    assert_eq!(failures[0].error.kind(), ErrorKind::Codec);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Leaving {
    #[serde(skip_serializing_if = "is_secret")]
    label: String,
}

/// A condition that no made-up value meets.
fn is_secret(label: &String) -> bool {
    label == "secret"
}

#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core)]
struct Relabel(Leaving);

impl Operation for Relabel {
    type Input = u8;
    type Output = Leaving;
    fn execute(&self, input: u8, _: &TaskContext) -> Result<Leaving> {
        Ok(Leaving { label: if input > 0 { "x".to_owned() } else { "secret".to_owned() } })
    }
}

#[test]
fn a_state_that_would_be_corrupted_is_rejected_when_it_is_planned() {
    let relabel = Relabel(Leaving { label: "secret".to_owned() });
    let error = registry().reference(&relabel, Verb::Map).map(drop).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(
            "the state of operation `registry::Relabel` does not serialize: `Leaving`"
        ) && text.contains("`skip_serializing_if`"),
        "{text}"
    );
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Phase {
    New,
    #[serde(skip)]
    Local,
    Running,
    Done,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Phase {}

#[test]
fn a_typed_error_that_would_be_read_as_another_one_keeps_only_its_text() {
    assert_eq!(OperationError::typed(Phase::New).downcast(), Some(Phase::New));
    for phase in [Phase::Local, Phase::Running, Phase::Done] {
        let error = OperationError::typed(phase);
        assert_eq!((error.message(), error.downcast::<Phase>()), (&*format!("{phase:?}"), None));
    }
}

#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core)]
struct ToPhase;

impl Operation for ToPhase {
    type Input = u8;
    type Output = Phase;
    fn execute(&self, input: u8, _: &TaskContext) -> Result<Phase> {
        Ok([Phase::New, Phase::Local, Phase::Running, Phase::Done][usize::from(input)])
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Optional {
    other: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<u8>,
}

#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core)]
struct TakeOptional;

impl Operation for TakeOptional {
    type Input = Optional;
    type Output = u8;
    fn execute(&self, input: Optional, _: &TaskContext) -> Result<u8> {
        Ok(input.label.or(input.other).unwrap_or_default())
    }
}

#[test]
fn types_that_do_not_read_what_they_write_are_rejected_when_they_are_planned_and_never_sent() {
    let refused = |error: RegistryError, parts: &[&str]| {
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    };
    let error = registry().reference(&ToPhase, Verb::Map).map(drop).unwrap_err();
    refused(error, &["output of operation `registry::ToPhase`", "`Running` of `Phase`", "`Done`"]);
    let error = registry().reference(&TakeOptional, Verb::Map).map(drop).unwrap_err();
    refused(error, &["`label` of `Optional`", "`serde(skip_serializing_if)`", "`phalanx::Json`"]);
    // A leader of another build could still send the step: no value leaves as another one.
    let registered = registry().get("registry::ToPhase").unwrap();
    let step = registry()
        .compile(&phalanx_core::registry::StepReference {
            name: registered.name().to_owned(),
            fingerprint: registered.fingerprint(),
            verb: Verb::Map,
            timeout: None,
            state: Vec::new().into(),
        })
        .unwrap();
    let (output, _) = run(&*step, &[0u8, 2]);
    let mut bytes = Vec::new();
    let (index, error) = step.encode(&output, 0..2, &mut bytes, None).unwrap_err();
    assert_eq!((index, bytes.as_slice()), (1, &[0][..]));
    assert!(error.message().contains("writes variant `Running` of `Phase` as number 2"), "{error}");
}

#[test]
fn an_output_that_does_not_serialize_is_named_and_those_before_it_stay() {
    let step = compiled(&Relabel(Leaving { label: String::new() }), Verb::Map);
    let (output, failures) = run(&*step, &[1u8, 1, 0, 1]);
    assert!(failures.is_empty());
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    let (index, error) = step.encode(&output, 1..4, &mut bytes, Some(&mut ends)).unwrap_err();
    assert_eq!(index, 1);
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.message().starts_with("an output of operation `registry::Relabel`: `Leaving`"));
    assert_eq!((bytes, ends), (vec![1, b'x'], vec![2]));
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Shape {
    Round(f64),
    Named(String),
}

#[operation(crate = phalanx_core)]
fn area(shapes: &[Shape]) -> usize {
    shapes
        .iter()
        .filter(|shape| match shape {
            Shape::Round(radius) => *radius > 0.0,
            Shape::Named(name) => !name.is_empty(),
        })
        .count()
}

#[test]
fn an_input_that_postcard_cannot_encode_is_rejected_when_it_is_planned() {
    let error = registry().reference(&Area, Verb::Map).map(drop).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("the input of operation `registry::Area` cannot be encoded: `")
            && text.contains("Shape>`, at `[]`, has `serde(untagged)`")
            && text.ends_with("or wrap the type in `phalanx::Json`, which sends it as JSON text"),
        "{text}"
    );
}

#[operation(crate = phalanx_core, fingerprint = "version", version = 3)]
fn versioned(n: u8) -> u8 {
    n
}

#[operation(crate = phalanx_core, fingerprint = "version", version = 3)]
fn versioned_too(n: String) -> String {
    n
}

#[test]
fn a_version_fingerprint_ignores_the_types() {
    let versioned = registry().get("registry::Versioned").unwrap();
    assert_eq!(versioned.structure(), "version 3");
    let too = registry().get("registry::VersionedToo").unwrap();
    assert_eq!(versioned.fingerprint(), too.fingerprint());
    assert_ne!(versioned.fingerprint(), registry().get("registry::IsEven").unwrap().fingerprint());
}

/// Panics when it is dropped after it was read.
#[derive(Clone, Serialize, Deserialize)]
struct Bomb(bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.0, "dropped");
    }
}

#[operation(crate = phalanx_core)]
fn keep_none(_bomb: &Bomb) -> bool {
    false
}

#[operation(crate = phalanx_core)]
fn arm(n: u8) -> Bomb {
    Bomb(n > 0)
}

#[test]
fn a_panic_while_a_value_is_dropped_does_not_escape() {
    let step = compiled(&KeepNone, Verb::Filter);
    let (output, failures) = run(&*step, &[false, true, false]);
    assert!(output.is_empty());
    assert_eq!(failures.len(), 1);
    assert_eq!((failures[0].offset, failures[0].error.kind()), (1, ErrorKind::Panic));
    let (output, failures) = run(&*compiled(&Arm, Verb::Map), &[1u8, 1, 1]);
    assert!(failures.is_empty());
    drop(output);
}
