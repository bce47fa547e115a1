//! Steps: as they are sent, and as workers run them, with their types erased.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Column, Order, values::Guarded};
use crate::{
    codec::{Encodings, Layout},
    operation::{Execution, OperationError, TaskContext},
};

/// One step of a stage as it is sent to workers: an operation by name, with its state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StepReference {
    /// The name of the operation, or of the verb if it has none.
    pub name: String,
    /// The fingerprint of the operation at the leader.
    pub fingerprint: u64,
    /// The directive that applies the operation.
    pub verb: Verb,
    /// How long the operation may run on one element; `None` is no limit.
    pub timeout: Option<Duration>,
    /// The encoded operation value.
    pub state: Bytes,
}

/// How a step applies its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Verb {
    /// One output for each input.
    Map,
    /// Like `Map`, with outputs of type `Result<Output, Failure>`: this step makes the `Ok`,
    /// the leader the `Err`.
    TryMap,
    /// Keeps the inputs for which the output is `true`.
    Filter,
    /// All items of each output.
    FlatMap,
    /// Combines all inputs in order, with a monoid. The last step of a stage.
    Fold,
    /// Like `Fold`, with an operation from `(T, T)` to `T`.
    Reduce,
    /// Combines the values of each key in order, with a monoid: the last step of a stage that feeds
    /// an exchange, and the first step of the one that reads it.
    FoldByKey,
    /// Like `FoldByKey`, with an operation from `(V, V)` to `V`.
    ReduceByKey,
    /// One value for each value of a pair, which keeps its key.
    MapValues,
    /// All items of the output for each value of a pair, each with its key.
    FlatMapValues,
    /// Keeps the pairs for whose values the output is `true`.
    FilterValues,
    /// Keeps the pairs for whose keys the output is `true`.
    FilterKeys,
    /// The output is the key of the input, which is the value of the pair.
    KeyBy,
    /// The keys of pairs. Like the next two, it has no operation.
    Keys,
    /// The values of pairs.
    Values,
    /// The value of each pair as its key, and the key as its value.
    Swap,
    /// Keeps a fraction of the inputs. Its state is a [`Sample`](super::Sample), and it has no
    /// operation.
    Sample,
}

impl Verb {
    /// The name of the method of `IndexedStream` that adds a step with this verb.
    pub fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::TryMap => "try_map",
            Self::Filter => "filter",
            Self::FlatMap => "flat_map",
            Self::Fold => "fold",
            Self::Reduce => "reduce",
            Self::FoldByKey => "fold_by_key",
            Self::ReduceByKey => "reduce_by_key",
            Self::MapValues => "map_values",
            Self::FlatMapValues => "flat_map_values",
            Self::FilterValues => "filter_values",
            Self::FilterKeys => "filter_keys",
            Self::KeyBy => "key_by",
            Self::Keys => "keys",
            Self::Values => "values",
            Self::Swap => "swap",
            Self::Sample => "sample",
        }
    }

    /// Whether the verb has an operation.
    pub fn has_operation(self) -> bool {
        !matches!(self, Self::Keys | Self::Values | Self::Swap | Self::Sample)
    }

    /// Whether each input has exactly one output.
    pub fn is_one_to_one(self) -> bool {
        match self {
            Self::Map
            | Self::TryMap
            | Self::FoldByKey
            | Self::ReduceByKey
            | Self::MapValues
            | Self::KeyBy
            | Self::Keys
            | Self::Values
            | Self::Swap => true,
            Self::Filter
            | Self::FlatMap
            | Self::Fold
            | Self::Reduce
            | Self::FlatMapValues
            | Self::FilterValues
            | Self::FilterKeys
            | Self::Sample => false,
        }
    }

    /// How a step with this verb reads the elements of a source.
    pub fn layout(self) -> Layout {
        match self {
            Self::MapValues
            | Self::FlatMapValues
            | Self::FilterValues
            | Self::FilterKeys
            | Self::Keys
            | Self::Values
            | Self::Swap => Layout::Pairs,
            Self::KeyBy | Self::Sample => Layout::Whole,
            Self::Map
            | Self::TryMap
            | Self::Filter
            | Self::FlatMap
            | Self::Fold
            | Self::Reduce
            | Self::FoldByKey
            | Self::ReduceByKey => Layout::Plain,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An element that failed in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedElement {
    /// The batch offset of the element.
    pub offset: u32,
    /// The error. Panics are of kind [`ErrorKind::Panic`](crate::operation::ErrorKind), with their
    /// message and location.
    pub error: OperationError,
}

/// Why a worker refuses a task: the worker was built differently from the leader.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The worker has no operation with this name.
    #[error("unknown operation `{name}`; known: {}; {}", known.join(", "), unknown(name, known))]
    UnknownOperation {
        /// The name of the operation.
        name: String,
        /// The names of the operations of the worker, sorted; at most 100.
        known: Vec<String>,
    },
    /// The operation has another version, or other types, than at the leader.
    #[error("operation `{name}` differs between leader and worker: the worker has {structure}")]
    Fingerprint {
        /// The name of the operation.
        name: String,
        /// The version, and the structure of state, input and output, at the worker.
        structure: String,
    },
    /// The state of an operation does not decode.
    #[error("the state of operation `{name}` does not decode: {reason}")]
    State {
        /// The name of the operation.
        name: String,
        /// The message of the decoder.
        reason: String,
    },
    /// The types of the operation at the worker do not allow the directive.
    #[error("operation `{name}` cannot be used for `{verb}`")]
    Verb {
        /// The name of the operation.
        name: String,
        /// The directive.
        verb: Verb,
    },
    /// The batch does not decode as inputs of the first step.
    #[error(
        "element {offset} of the batch does not decode as the input of operation `{name}`: {reason}"
    )]
    Undecodable {
        /// The name of the operation.
        name: String,
        /// The batch offset of the element that does not decode.
        offset: u32,
        /// The message of the decoder.
        reason: String,
    },
    /// The message has another wire version than the worker supports.
    #[error("unsupported wire version {found}; the worker supports version {supported}")]
    WireVersion {
        /// The version of the message.
        found: u8,
        /// The version that the worker supports.
        supported: u8,
    },
    /// The broker does not let the worker read the queues of blocks, or write to their exchange.
    #[error("the broker does not let it use the blocks of an exchange: {reason}")]
    Permission {
        /// The message of the broker.
        reason: String,
    },
    /// The worker cannot write what it gathers to its disk, or read it again.
    #[error("{reason}")]
    Spill {
        /// The directory, the message of the operating system, and what to do.
        reason: String,
    },
    /// The message does not decode.
    #[error("the task does not decode: {reason}")]
    Message {
        /// The message of the decoder.
        reason: String,
    },
}

impl Refusal {
    /// The name of the operation that is refused; `None` if it is the message.
    pub fn operation(&self) -> Option<&str> {
        match self {
            Self::UnknownOperation { name, .. }
            | Self::Fingerprint { name, .. }
            | Self::State { name, .. }
            | Self::Verb { name, .. }
            | Self::Undecodable { name, .. } => Some(name),
            Self::WireVersion { .. }
            | Self::Permission { .. }
            | Self::Spill { .. }
            | Self::Message { .. } => None,
        }
    }
}

/// What to do about an operation that the worker does not know.
fn unknown(name: &str, known: &[String]) -> String {
    // A module of two binaries has another path in each.
    let path = |name: &str| name.split_once("::").map(|(_, path)| path.to_owned());
    match known.iter().find(|other| path(name).is_some() && path(other) == path(name)) {
        Some(other) => format!(
            "if `{other}` is the same operation, in a module of two binaries: move the module to a \
             library that both use, or give it a name with `#[remote(name = \"…\")]`"
        ),
        None => "add `use my_operations as _;` to the worker".to_owned(),
    }
}

crate::__debug_as_report!(Refusal);

/// The future of an asynchronous step on one chunk.
pub type StepFuture<'a> = Pin<Box<dyn Future<Output = (Column, Vec<FailedElement>)> + Send + 'a>>;

/// One step with its state, with the types erased. All methods work on chunks, and catch panics of
/// the operation and of serialization.
pub trait CompiledStep: Send + Sync {
    /// The operation's name.
    fn name(&self) -> &str;

    /// Whether [`run_async`](Self::run_async) must be used in place of [`run`](Self::run).
    fn is_async(&self) -> bool;

    /// Whether each input has exactly one output (`Map`, `TryMap`).
    fn is_one_to_one(&self) -> bool;

    /// Whether `run` accepts columns of this type. If not (two types of the same structure in one
    /// binary), the caller encodes the values with the previous step and decodes them with this
    /// one.
    fn accepts(&self, column: &Column) -> bool;

    /// Decodes up to `max` inputs of this step from the front of `bytes`, stopping early (after at
    /// least one value) when `max_bytes` have been read. `first` is the batch offset of the first.
    ///
    /// `max` must not exceed the number of remaining values: bytes that end before do not decode.
    /// (The end of the bytes is not a sign, because the encoding of `()` is empty.)
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

    /// Runs a blocking step. Catches panics, and continues after an element that fails; sets the
    /// offset of `cx` before each element. If the caller passes a column that this step does not
    /// [accept](Self::accepts), every element fails with `ErrorKind::Codec`.
    fn run(&self, input: Column, cx: &TaskContext, failures: &mut Vec<FailedElement>) -> Column;

    /// Runs an asynchronous step on all elements, at most `concurrency` of them at once, each with
    /// its own context and within `timeout`. Results keep the order of the input.
    fn run_async<'a>(
        &'a self,
        input: Column,
        execution: &'a Arc<Execution>,
        concurrency: usize,
        timeout: Option<Duration>,
    ) -> StepFuture<'a>;

    /// Appends the encodings of the outputs `range` to `bytes`, and the end of each to `ends`. Not
    /// for folds.
    ///
    /// # Errors
    /// The number, within `range`, of the value that does not serialize, and the error. The values
    /// before it have been appended.
    fn encode(
        &self,
        output: &Column,
        range: std::ops::Range<usize>,
        bytes: &mut Vec<u8>,
        ends: Option<&mut Vec<u32>>,
    ) -> Result<(), (usize, OperationError)>;

    /// As [`encode`](Self::encode), as keys and values.
    ///
    /// # Errors
    /// As of `encode`.
    fn encode_rows(
        &self,
        output: &Column,
        range: std::ops::Range<usize>,
        rows: &mut Encodings,
    ) -> Result<(), (usize, OperationError)>;

    /// Whether [`run_encoded`](Self::run_encoded) can be used in place of [`run`](Self::run) and
    /// [`encode_rows`](Self::encode_rows).
    fn encodes(&self) -> bool;

    /// As [`run`](Self::run), with outputs that are encoded as soon as they are made. Returns them
    /// with the batch offset of each.
    fn run_encoded(
        &self,
        input: Column,
        cx: &TaskContext,
        failures: &mut Vec<FailedElement>,
    ) -> (Encodings, Vec<u32>);

    /// No accumulators yet, for [`combine`](Self::combine); `None` for operations that do not fold.
    fn accumulators(&self) -> Option<Accumulators>;

    /// Combines each value with the accumulator of its group (`FoldByKey`, `ReduceByKey`), in
    /// order, and goes on after a failure. Groups are numbered in the order of their first values.
    /// Returns the numbers of the values at which a group failed, with the errors; other values of
    /// such a group are ignored.
    fn combine(
        &self,
        accumulators: &mut Accumulators,
        groups: &[u32],
        input: Column,
        cx: &TaskContext,
    ) -> Vec<(usize, OperationError)>;

    /// The combined values of the groups that have not failed. In place of batch offsets, the
    /// column has the numbers of the groups.
    fn finish(&self, accumulators: Accumulators) -> Column;

    /// How the outputs are compared, or, if `by_key`, the pairs of a key that the operation has
    /// made and its input (`KeyBy`). `None` if the step does not know.
    fn order(&self, by_key: bool) -> Option<Order>;

    /// Starts a fold (`Fold`, `Reduce`); `None` for other verbs.
    fn fold(&self) -> Option<Box<dyn Fold + '_>>;
}

/// The combined values of groups, from [`CompiledStep::accumulators`].
pub struct Accumulators(pub(super) Guarded);

impl fmt::Debug for Accumulators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accumulators").field("groups", &self.0.len()).finish()
    }
}

/// A fold in progress over a gap-free range of elements.
pub trait Fold: Send {
    /// Combines the values into the accumulator, in order. A failure at an element discards the
    /// accumulator; returns the failure and a column of the values after it.
    fn absorb(
        &mut self,
        input: Column,
        cx: &TaskContext,
    ) -> Result<(), Box<(FailedElement, Column)>>;

    /// Takes the accumulator and appends its encoding; returns `false` if nothing was absorbed.
    ///
    /// # Errors
    /// If the accumulator does not serialize.
    fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<bool, OperationError>;
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn an_operation_that_another_binary_has_under_its_own_path_is_recognized() {
        let advice = |known: &str| {
            let known = vec!["other::shrink".to_owned(), known.to_owned()];
            Refusal::UnknownOperation { name: "leader::ops::shrink".to_owned(), known }.to_string()
        };
        let same = advice("worker::ops::shrink");
        assert!(same.contains("if `worker::ops::shrink` is the same operation"), "{same}");
        assert!(same.contains("a library that both use"), "{same}");
        assert!(advice("worker::shrink").ends_with("add `use my_operations as _;` to the worker"));
    }
}
