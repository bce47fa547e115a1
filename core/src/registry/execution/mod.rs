//! Running an operation on a chunk of values whose type is erased.
//!
//! All code of the user (operations, `Drop`, `Serialize`, iterators, futures) can panic. Panics are
//! caught once for each chunk rather than for each element, which would be slower.

mod asynchronous;
mod blocking;
mod bound;
mod fold;
mod outputs;
mod panics;

use std::{sync::Arc, time::Duration};

pub(super) use asynchronous::{AsyncFilter, AsyncFlatMap, AsyncMap, AsyncTryMap};
pub(super) use blocking::{Filter, FlatMap, Map, TryMap};
pub(super) use bound::BoundStep;
pub(super) use fold::{FoldMonoid, ReduceOperation};
pub(super) use outputs::GuardedValues;
use outputs::Outputs;
pub(super) use panics::caught;

use super::{Column, Failure, Fold, StepFuture};
use crate::operation::{ErrorKind, Execution, OperationError, TaskContext};

/// An operation with its state, by how it runs.
pub(super) enum Body {
    Blocking(Box<dyn BlockingBody>),
    Asynchronous(Box<dyn AsyncBody>),
    Fold(Box<dyn FoldBody>),
}

pub(super) trait BlockingBody: Send + Sync {
    fn run(&self, input: Column, run: &mut Run<'_>) -> Column;
}

pub(super) trait AsyncBody: Send + Sync {
    fn run<'a>(&'a self, input: Column, run: AsyncRun<'a>) -> StepFuture<'a>;
}

pub(super) trait FoldBody: Send + Sync {
    fn start<'a>(&'a self, name: &'a str) -> Box<dyn Fold + 'a>;
}

/// One run of a blocking step on one chunk.
pub(super) struct Run<'a> {
    pub(super) name: &'a str,
    pub(super) cx: &'a TaskContext,
    pub(super) failures: &'a mut Vec<Failure>,
}

/// One run of an asynchronous step on one chunk.
#[derive(Clone, Copy)]
pub(super) struct AsyncRun<'a> {
    pub(super) name: &'a str,
    pub(super) execution: &'a Arc<Execution>,
    pub(super) concurrency: usize,
    pub(super) timeout: Option<Duration>,
}

/// Failures of all elements of a column whose values are not the inputs of the step.
fn wrong_type(column: &Column, name: &str) -> Vec<Failure> {
    let error = OperationError::new(
        ErrorKind::Codec,
        format!("operation `{name}` received values of another type"),
    );
    let mut offsets = column.offsets.clone();
    offsets.dedup();
    offsets.into_iter().map(|offset| Failure { offset, error: error.clone() }).collect()
}
