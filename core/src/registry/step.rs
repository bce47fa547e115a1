//! The execution of one step, with its types erased.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Column;
use crate::operation::{Execution, OperationError, TaskContext};

/// One step of a stage, as it travels: an operation by name, with its state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StepReference {
    /// The operation's name.
    pub name: String,
    /// The fingerprint of the operation where the plan was made.
    pub fingerprint: u64,
    /// What to do with it.
    pub verb: Verb,
    /// How long it may run on one element.
    pub timeout: Option<Duration>,
    /// The encoded operation.
    pub state: Bytes,
}

/// What a step does with its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Verb {
    /// One output for one input.
    Map,
    /// As `Map`, the output wrapped into `Ok`: the column is one of `Result<Output, OperationError>`.
    TryMap,
    /// Keeps its input where the output is `true`.
    Filter,
    /// All items of the output.
    FlatMap,
    /// Combines all inputs, in order, with a monoid. Last step of a stage.
    Fold,
    /// As `Fold`, with an operation from `(T, T)` to `T`. Last step of a stage.
    Reduce,
}

/// An element that failed in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its offset in the batch.
    pub origin: u32,
    /// Why. Panics come as [`ErrorKind::Panic`](crate::operation::ErrorKind), with message and place.
    pub error: OperationError,
}

/// Why a worker does not run a step: it is built differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No operation of this name is part of the program.
    #[error("unknown operation `{name}`; known: {}; add `use my_operations as _;` to the worker", known.join(", "))]
    UnknownOperation {
        /// The name asked for.
        name: String,
        /// The names known, sorted; at most 100.
        known: Vec<String>,
    },
    /// An operation of this name has another version, or other types.
    #[error("operation `{name}` differs between leader and worker: the worker has {structure}")]
    Fingerprint {
        /// The operation's name.
        name: String,
        /// The worker's version and structure of state, input and output.
        structure: String,
    },
    /// The state of an operation does not decode.
    #[error("the state of operation `{name}` does not decode: {reason}")]
    State {
        /// The operation's name.
        name: String,
        /// What the decoder said.
        reason: String,
    },
    /// An operation cannot be used in this way.
    #[error("operation `{name}` cannot be used for {verb:?}")]
    Verb {
        /// The operation's name.
        name: String,
        /// What was asked for.
        verb: Verb,
    },
    /// The batch does not decode as what the first step takes.
    #[error("element {offset} of the batch is no input of operation `{name}`: {reason}")]
    Undecodable {
        /// The operation's name.
        name: String,
        /// Where in the batch decoding stopped.
        offset: u32,
        /// What the decoder said.
        reason: String,
    },
    /// The message has a wire version that the worker does not speak.
    #[error("wire version {found} where the worker speaks {spoken}")]
    WireVersion {
        /// What came.
        found: u8,
        /// What it speaks.
        spoken: u8,
    },
    /// The message does not decode.
    #[error("undecodable task: {reason}")]
    Message {
        /// What the decoder said.
        reason: String,
    },
}

/// The future of an asynchronous step on one chunk.
pub type StepFuture<'a> = Pin<Box<dyn Future<Output = (Column, Vec<Failure>)> + Send + 'a>>;

/// One step, bound to its state, types erased. All methods work on chunks, and let no panic of
/// somebody's operation or serialization through.
pub trait CompiledStep: Send + Sync {
    /// The operation's name.
    fn name(&self) -> &str;

    /// Whether [`run_async`](Self::run_async) must be used in place of [`run`](Self::run).
    fn is_async(&self) -> bool;

    /// Whether each input gives exactly one output (`Map`, `TryMap`).
    fn is_one_to_one(&self) -> bool;

    /// Whether `run` takes columns of this type: where it does not (two types of one structure in
    /// one binary), the caller encodes with the step before and decodes with this one.
    fn accepts(&self, column: &Column) -> bool;

    /// Decodes up to `max` values of this step's input from the front of `bytes`, stopping early
    /// when `max_bytes` have been read (at least one value). Origins count from `first`.
    ///
    /// `max` must not exceed the number of values that are left: bytes that end before are
    /// undecodable. (The end of the bytes is no sign: the encoding of `()` is empty.)
    ///
    /// # Errors
    /// `Refusal::Undecodable` with the offset of the value that does not decode.
    fn decode(
        &self,
        bytes: &mut &[u8],
        first: u32,
        max: u32,
        max_bytes: usize,
    ) -> Result<Column, Refusal>;

    /// Runs a blocking step. Catches panics and goes on behind the element; sets the offset of
    /// `cx` before each element. A column that does not hold this step's input is a bug of the
    /// caller: every element fails with `ErrorKind::Codec`; see [`accepts`](Self::accepts).
    fn run(&self, input: Column, cx: &TaskContext, failures: &mut Vec<Failure>) -> Column;

    /// Runs an asynchronous step: all elements concurrently, at most `concurrency` at once, each
    /// with a context of its own, each within `timeout`. Results keep the order of the input.
    fn run_async<'a>(
        &'a self,
        input: Column,
        execution: &'a Arc<Execution>,
        concurrency: usize,
        timeout: Option<Duration>,
    ) -> StepFuture<'a>;

    /// Appends the encodings of this step's output values `range` to `bytes`, and their ends where
    /// asked for. Not for folds.
    ///
    /// # Errors
    /// The index in `range` of the value that does not serialize, and why; what came before it has
    /// been appended.
    fn encode(
        &self,
        output: &Column,
        range: std::ops::Range<usize>,
        bytes: &mut Vec<u8>,
        ends: Option<&mut Vec<u32>>,
    ) -> Result<(), (usize, OperationError)>;

    /// Starts a fold (`Fold`, `Reduce`); `None` for other verbs.
    fn fold(&self) -> Option<Box<dyn Fold + '_>>;
}

/// A fold in progress over a gap-free run of elements.
pub trait Fold: Send {
    /// Combines the values into the accumulator, in order. On a failure at an element the
    /// accumulator is gone: returns the failure, and the values behind it are left in the column.
    fn absorb(&mut self, input: Column, cx: &TaskContext) -> Result<(), Box<(Failure, Column)>>;

    /// Takes the accumulator and appends its encoding; `false` when nothing was absorbed.
    ///
    /// # Errors
    /// When the accumulator does not serialize.
    fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<bool, OperationError>;
}
