//! Operations over strings, and a gate at which some of them wait.

use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, LazyLock, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use phalanx_core::{
    Monoid, operation,
    operation::{OperationError, RemoteExecute, Result, TaskContext},
    registry::{Registry, StepReference, Verb},
};
use serde::{
    Deserialize, Serialize, Serializer,
    ser::{Error, SerializeTupleStruct},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::lock::lock;

/// A step of a test, by its effect on a string.
#[derive(Debug, Clone)]
pub(crate) enum TestOp {
    Append(char),
    AppendAsync(char),
    FailOn(char),
    /// Fails transiently if the value contains the character.
    StumbleOn(char),
    PanicOn(char),
    /// Its output does not serialize if it contains the character.
    UnserializableOn(char),
    /// Leaves out values that contain the character.
    Without(char),
    Chars,
    /// Accepts and returns strings as another type of the same structure.
    Rewrap,
    Concat,
    /// Fails on values that contain the character, except as the first of a segment.
    ConcatUnless(char),
    /// Makes a pair of its length and the value.
    KeyByLength,
    /// As `Append`, to values that panic when they are compared.
    AppendIncomparable(char),
    /// A pair of the first character and the value.
    PairUp,
    /// Concatenates the values of each key; fails on values that contain the character, except as
    /// the first.
    ConcatByKey(Option<char>),
    /// As `ConcatByKey`, and waits at the gate at values that contain the character, until it is
    /// cancelled; then it goes on.
    WaitByKey(char),
    /// Waits at the gate if the value contains the character.
    WaitOn(char),
    WaitAsyncOn(char),
    /// As `WaitOn`, but fails when it is cancelled.
    WaitPolitelyOn(char),
    /// Sleeps for this many milliseconds.
    Nap(u64),
    /// An operation that this program does not have.
    Unknown,
}

/// Makes steps of test operations, and controls the gate at which they wait.
#[derive(Debug, Clone)]
pub(crate) struct TestOperations {
    id: GateId,
    gate: Arc<Gate>,
}

impl TestOperations {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = GateId(NEXT.fetch_add(1, Ordering::Relaxed));
        Self { id, gate: id.gate() }
    }

    pub(crate) fn step(&self, op: &TestOp, timeout: Option<Duration>) -> StepReference {
        let gate = self.id;
        let step = match *op {
            TestOp::Append(suffix) => reference(&Append { gate, suffix }, Verb::Map),
            TestOp::AppendAsync(suffix) => reference(&AppendAsync { gate, suffix }, Verb::Map),
            TestOp::FailOn(c) => reference(&FailOn { c }, Verb::Map),
            TestOp::StumbleOn(c) => reference(&StumbleOn { c }, Verb::Map),
            TestOp::KeyByLength => reference(&Length, Verb::KeyBy),
            TestOp::AppendIncomparable(suffix) => {
                reference(&AppendIncomparable { suffix }, Verb::Map)
            }
            TestOp::PairUp => reference(&PairUp, Verb::Map),
            TestOp::ConcatByKey(unless) => reference(&Concat { unless }, Verb::FoldByKey),
            TestOp::WaitByKey(c) => reference(&WaitingConcat { gate, c }, Verb::FoldByKey),
            TestOp::PanicOn(c) => reference(&PanicOn { c }, Verb::Map),
            TestOp::UnserializableOn(c) => reference(&UnserializableOn { c }, Verb::Map),
            TestOp::Without(c) => reference(&Lacks { c }, Verb::Filter),
            TestOp::Chars => reference(&Chars, Verb::FlatMap),
            TestOp::Rewrap => reference(&Rewrap, Verb::Map),
            TestOp::Concat => reference(&Concat { unless: None }, Verb::Fold),
            TestOp::ConcatUnless(c) => reference(&Concat { unless: Some(c) }, Verb::Fold),
            TestOp::WaitOn(c) => reference(&WaitOn { gate, c, polite: false }, Verb::Map),
            TestOp::WaitPolitelyOn(c) => reference(&WaitOn { gate, c, polite: true }, Verb::Map),
            TestOp::WaitAsyncOn(c) => reference(&WaitAsyncOn { gate, c }, Verb::Map),
            TestOp::Nap(millis) => reference(&Nap { millis }, Verb::Map),
            TestOp::Unknown => {
                let known = reference(&Chars, Verb::FlatMap);
                StepReference { name: "unknown".to_owned(), ..known }
            }
        };
        StepReference { timeout, ..step }
    }

    pub(crate) fn steps(&self, ops: &[TestOp]) -> Vec<StepReference> {
        ops.iter().map(|op| self.step(op, None)).collect()
    }

    pub(crate) fn open_gate(&self) {
        *lock(&self.gate.open) = true;
        self.gate.changed.notify_all();
        self.gate.opened.notify_waiters();
    }

    /// Whether the last operation that waits at the gate is cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        lock(&self.gate.last_waiting).is_cancelled()
    }

    /// The values that operations with the gate have run on, in order.
    pub(crate) fn ran(&self) -> Vec<String> {
        lock(&self.gate.ran).clone()
    }
}

fn reference<O: RemoteExecute>(operation: &O, verb: Verb) -> StepReference {
    let registry = Registry::global().expect("the names are unique");
    registry.reference(operation, verb).expect("the operation is registered").0
}

/// The gate of one test, by a number that can be part of the state of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct GateId(u64);

#[derive(Debug, Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
    /// The same as `changed`, for asynchronous operations.
    opened: Notify,
    ran: Mutex<Vec<String>>,
    /// Cancels the last operation that waits.
    last_waiting: Mutex<CancellationToken>,
}

impl GateId {
    fn gate(self) -> Arc<Gate> {
        static GATES: LazyLock<Mutex<HashMap<GateId, Arc<Gate>>>> = LazyLock::new(Mutex::default);
        Arc::clone(lock(&GATES).entry(self).or_default())
    }

    fn record(self, value: &str) -> Arc<Gate> {
        let gate = self.gate();
        lock(&gate.ran).push(value.to_owned());
        gate
    }
}

impl Gate {
    async fn wait_async(&self) {
        loop {
            let opened = self.opened.notified();
            tokio::pin!(opened);
            opened.as_mut().enable();
            if *lock(&self.open) {
                return;
            }
            opened.await;
        }
    }

    fn wait(&self, cx: &TaskContext, polite: bool) -> Result<()> {
        *lock(&self.last_waiting) = cx.execution().cancelled.clone();
        let mut open: MutexGuard<'_, bool> = lock(&self.open);
        while !*open {
            if polite && cx.is_cancelled() {
                return Err(OperationError::fatal("cancelled"));
            }
            let wait = self.changed.wait_timeout(open, Duration::from_millis(1));
            open = wait.expect("no panic poisons it").0;
        }
        Ok(())
    }
}

#[operation(crate = phalanx_core)]
fn append(#[state] gate: GateId, #[state] suffix: char, value: String) -> String {
    gate.record(&value);
    format!("{value}{suffix}")
}

#[operation(crate = phalanx_core)]
async fn append_async(#[state] gate: GateId, #[state] suffix: char, value: String) -> String {
    gate.record(&value);
    tokio::task::yield_now().await;
    format!("{value}{suffix}")
}

#[operation(crate = phalanx_core)]
fn fail_on(#[state] c: char, value: String) -> Result<String> {
    if value.contains(c) {
        return Err(OperationError::fatal(format!("failed on {value}")));
    }
    Ok(value)
}

#[operation(crate = phalanx_core)]
fn panic_on(#[state] c: char, value: String) -> String {
    assert!(!value.contains(c), "panicked on {value}");
    value
}

/// A string that may not serialize, which shows after its bytes are written. Deserialized, it does.
#[derive(Debug, Clone, Deserialize)]
struct Wrapped(String, #[serde(skip)] Option<char>);

impl Serialize for Wrapped {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut wrapped = serializer.serialize_tuple_struct("Wrapped", 1)?;
        wrapped.serialize_field(&self.0)?;
        match self.1 {
            Some(c) if self.0.contains(c) => Err(S::Error::custom("unserializable")),
            _ => wrapped.end(),
        }
    }
}

#[operation(crate = phalanx_core)]
fn unserializable_on(#[state] c: char, value: String) -> Wrapped {
    Wrapped(value, Some(c))
}

#[operation(crate = phalanx_core)]
fn rewrap(value: Wrapped) -> Wrapped {
    Wrapped(value.0, None)
}

#[operation(crate = phalanx_core)]
fn lacks(#[state] c: char, value: &str) -> bool {
    !value.contains(c)
}

#[operation(crate = phalanx_core)]
fn chars(value: String) -> Vec<String> {
    value.chars().map(String::from).collect()
}

#[derive(Debug, Serialize, Deserialize, phalanx_core::RemoteExecute)]
#[remote(crate = phalanx_core)]
struct Concat {
    unless: Option<char>,
}

impl Monoid for Concat {
    type Elem = String;

    fn empty(&self) -> String {
        String::new()
    }

    fn combine(&self, a: String, b: String, _: &TaskContext) -> Result<String> {
        if self.unless.is_some_and(|c| b.contains(c)) {
            return Err(OperationError::fatal("not to be combined"));
        }
        Ok(a + &b)
    }
}

#[derive(Debug, Serialize, Deserialize, phalanx_core::RemoteExecute)]
#[remote(crate = phalanx_core)]
struct WaitingConcat {
    gate: GateId,
    c: char,
}

impl Monoid for WaitingConcat {
    type Elem = String;

    fn empty(&self) -> String {
        String::new()
    }

    fn combine(&self, a: String, b: String, cx: &TaskContext) -> Result<String> {
        let gate = self.gate.record(&b);
        if b.contains(self.c) {
            let _ = gate.wait(cx, true);
        }
        Ok(a + &b)
    }
}

#[operation(crate = phalanx_core)]
fn stumble_on(#[state] c: char, value: String) -> Result<String> {
    match value.contains(c) {
        true => Err(OperationError::fatal("stumbled").transient()),
        false => Ok(value),
    }
}

#[operation(crate = phalanx_core)]
fn length(value: &str) -> usize {
    value.len()
}

/// A string with an order that panics.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Incomparable(String);

impl Ord for Incomparable {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        panic!("these cannot be compared")
    }
}

impl PartialOrd for Incomparable {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[operation(crate = phalanx_core)]
fn append_incomparable(#[state] suffix: char, value: String) -> Incomparable {
    Incomparable(format!("{value}{suffix}"))
}

#[operation(crate = phalanx_core)]
fn pair_up(value: String) -> (String, String) {
    (value.chars().take(1).collect(), value)
}

#[operation(crate = phalanx_core)]
fn wait_on(
    #[state] gate: GateId,
    #[state] c: char,
    #[state] polite: bool,
    value: String,
    cx: &TaskContext,
) -> Result<String> {
    let gate = gate.record(&value);
    if value.contains(c) {
        gate.wait(cx, polite)?;
    }
    Ok(value)
}

#[operation(crate = phalanx_core)]
async fn wait_async_on(#[state] gate: GateId, #[state] c: char, value: String) -> String {
    let gate = gate.record(&value);
    if value.contains(c) {
        gate.wait_async().await;
    }
    value
}

#[operation(crate = phalanx_core)]
fn nap(#[state] millis: u64, value: String) -> String {
    thread::sleep(Duration::from_millis(millis));
    value
}
