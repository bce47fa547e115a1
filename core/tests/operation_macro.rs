//! Operations that `#[operation]` makes from functions.
#![forbid(unsafe_code)]
#![deny(missing_docs, unnameable_types, missing_debug_implementations, clippy::pedantic)]
#![allow(
    clippy::must_use_candidate,
    clippy::trivially_copy_pass_by_ref,
    clippy::unnecessary_wraps,
    clippy::needless_lifetimes,
    reason = "the test covers these functions"
)]

use std::fmt;

use phalanx_core::{
    AsyncOperation, Operation, RemoteExecute, operation,
    operation::{ErrorKind, OperationError, ResultExt, TaskContext},
    registry::{OperationKind, Registry, Verb},
};
use serde::{Deserialize, Serialize};

/// The Fibonacci number at `n`.
#[operation(crate = phalanx_core)]
pub fn fib_at(n: u64) -> u64 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

#[operation(crate = phalanx_core, type = "Scale", name = "test.scale", pool = "io", timeout = "5m", retries = 0, backoff = "1s..5m")]
fn scaled(
    /// The factor of both.
    #[state]
    factor: u64,
    a: u64,
    #[state] label: &str,
    b: &u64,
) -> String {
    format!("{label}{}", factor * (a + b))
}

#[operation(crate = phalanx_core)]
fn longest(words: &[String], least: &usize, cx: &TaskContext) -> Option<String> {
    assert_eq!(cx.tries(), 1);
    words.iter().filter(|word| word.len() >= *least).max_by_key(|word| word.len()).cloned()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Own {
    code: u32,
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}", self.code)
    }
}

impl std::error::Error for Own {}

#[operation(crate = phalanx_core)]
fn fails_with_own(code: u32) -> Result<u32, Own> {
    if code == 0 { Ok(0) } else { Err(Own { code }) }
}

#[operation(crate = phalanx_core)]
fn parse_number(text: &str) -> Result<i32, std::num::ParseIntError> {
    text.parse()
}

#[operation(crate = phalanx_core)]
fn read_zero(bytes: u8) -> std::io::Result<u8> {
    if bytes == 0 { Ok(1) } else { Err(std::io::Error::other("not zero")) }
}

#[operation(crate = phalanx_core)]
fn transient(n: u8) -> phalanx_core::operation::Result<u8> {
    Err::<u8, _>(std::io::Error::other(n.to_string())).transient()
}

#[operation(crate = phalanx_core)]
fn words(line: &str) -> impl Iterator<Item = String> {
    line.split(' ').map(str::to_owned)
}

#[operation(crate = phalanx_core)]
fn digits(n: u32) -> Result<Box<dyn Iterator<Item = u32>>, OperationError> {
    Ok(Box::new((0..n).rev()))
}

#[operation(crate = phalanx_core)]
async fn later<'a>(#[state] prefix: &str, name: &'a str, cx: &TaskContext) -> Result<String, Own> {
    tokio::task::yield_now().await;
    if name.is_empty() {
        Err(Own { code: 1 })
    } else {
        Ok(format!("{prefix}{name}{}", cx.offset()))
    }
}

#[operation(crate = phalanx_core)]
fn nothing() {}

#[operation(crate = phalanx_core)]
fn is_short((a, b): (String, String), _: u8) -> bool {
    a.len() + b.len() < 3
}

/// Counts as a failure if it is cloned.
#[derive(Serialize, Deserialize)]
struct Heavy(Vec<u8>);

impl Clone for Heavy {
    fn clone(&self) -> Self {
        panic!("copied")
    }
}

/// Not `Clone`.
#[derive(Serialize, Deserialize)]
struct Unique(u8);

#[operation(crate = phalanx_core)]
fn unwrapped(unique: &Unique) -> u8 {
    unique.0
}

#[operation(crate = phalanx_core)]
fn weight(heavy: &Heavy) -> usize {
    heavy.0.len()
}

#[operation(crate = phalanx_core)]
fn r#match(input: u8, cx: u8) -> u8 {
    input + cx
}

#[operation(crate = phalanx_core)]
#[cfg(any())]
fn absent(_: Absent) {}

fn cx() -> TaskContext {
    TaskContext::detached()
}

#[test]
fn the_function_stays_callable_and_the_operation_does_the_same() {
    assert_eq!(fib_at(10), 55);
    assert_eq!(FibAt.execute(10, &cx()), Ok(55));
}

#[test]
fn state_becomes_fields_and_parameters_a_tuple() {
    let scale = Scale { factor: 10, label: "=".to_owned() };
    assert_eq!(scale.execute((1, 2), &cx()), Ok("=30".to_owned()));
    assert_eq!(format!("{scale:?}"), "Scale { .. }");
    let registered = Registry::global().unwrap().get("test.scale").unwrap();
    assert_eq!(registered.pool(), Some("io"));
    assert_eq!(registered.timeout(), Some(std::time::Duration::from_secs(300)));
    assert_eq!(registered.retries(), 0);
    let seconds = std::time::Duration::from_secs;
    assert_eq!(registered.backoff(), Some((seconds(1), seconds(300))));
    assert_eq!(
        registered.structure(),
        "version 0, state {factor: u64, label: str}, input (u64, u64), output str"
    );
}

#[test]
fn references_are_owned_on_the_wire_and_borrowed_without_a_copy() {
    let input = (vec!["a".to_owned(), "bcd".to_owned()], 2);
    assert_eq!(Longest.execute_ref(&input, &cx()), Ok(Some("bcd".to_owned())));
    assert_eq!(Longest.execute(input, &cx()), Ok(Some("bcd".to_owned())));
    assert_eq!(Weight.execute_ref(&Heavy(vec![1, 2]), &cx()), Ok(2));
    assert_eq!(Unwrapped.execute(Unique(3), &cx()), Ok(3));
}

#[test]
fn a_serializable_error_keeps_its_type() {
    assert_eq!(FailsWithOwn.execute(0, &cx()), Ok(0));
    let error = FailsWithOwn.execute(7, &cx()).unwrap_err();
    assert_eq!(error.downcast::<Own>(), Some(Own { code: 7 }));
    assert_eq!(error.message(), "code 7");
}

#[test]
fn other_errors_are_sent_as_text() {
    assert_eq!(ParseNumber.execute("12".to_owned(), &cx()), Ok(12));
    let error = ParseNumber.execute("x".to_owned(), &cx()).unwrap_err();
    assert_eq!(error.message(), "invalid digit found in string");
    assert_eq!(ReadZero.execute(1, &cx()).unwrap_err().message(), "not zero");
    assert_eq!(Transient.execute(1, &cx()).unwrap_err().kind(), ErrorKind::Transient);
}

#[test]
fn iterators_are_collected() {
    assert_eq!(Words.execute("a b".to_owned(), &cx()), Ok(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(Digits.execute(3, &cx()), Ok(vec![2, 1, 0]));
    let registry = Registry::global().unwrap();
    registry.reference(&Words, Verb::FlatMap).unwrap();
    registry.reference(&Digits, Verb::FlatMap).unwrap();
}

#[tokio::test]
async fn an_async_function_becomes_an_async_operation() {
    let later = Later { prefix: ">".to_owned() };
    assert_eq!(later.execute("x".to_owned(), &cx()).await, Ok(">x0".to_owned()));
    let error = later.execute(String::new(), &cx()).await.unwrap_err();
    assert_eq!(error.downcast::<Own>(), Some(Own { code: 1 }));
    let registered = Registry::global().unwrap().get("operation_macro::Later").unwrap();
    assert_eq!(registered.kind(), OperationKind::Asynchronous);
}

#[test]
fn functions_without_parameters_with_patterns_and_with_odd_names_work() {
    assert_eq!(Nothing.execute((), &cx()), Ok(()));
    let pair = ("a".to_owned(), "b".to_owned());
    assert_eq!(IsShort.execute((pair, 0), &cx()), Ok(true));
    assert_eq!(Match.execute((1, 2), &cx()), Ok(3));
    let registry = Registry::global().unwrap();
    registry.reference(&IsShort, Verb::Filter).unwrap();
    assert!(registry.get("operation_macro::Match").is_some());
}

#[test]
fn an_operation_without_state_is_copy_and_debug() {
    fn is_copy<T: Copy + fmt::Debug + RemoteExecute>(_: T) {}
    is_copy(FibAt);
    assert_eq!(format!("{FibAt:?}"), "FibAt");
}
