//! Running an operation on a chunk of values whose type is erased.
//!
//! All code of the user (operations, `Drop`, `Serialize`, iterators, futures) can panic. Panics are
//! caught once for each chunk rather than for each element, which would be slower.

mod asynchronous;
mod backtrace;
mod blocking;
mod bound;
mod chunk;
mod current;
mod fold;
mod groups;
mod panics;

use asynchronous::AsyncRun;
pub(super) use asynchronous::{Finish, Start, finish, finish_all, start, start_filter};
use blocking::Run;
pub(super) use blocking::{filter, flat_map, flat_map_encoded, map};
pub(super) use bound::{BoundStep, RowStep};
pub(super) use chunk::{Chunk, Queue, RunChunk, RunEncoded, State};
use chunk::{Elements, Shorten, remove_last};
use current::OnThisThread;
pub(crate) use current::running_operation;
use fold::Folding;
pub(super) use fold::{fold, reduce, rest};
pub(super) use groups::GroupRunner;
use groups::Groups;
pub(crate) use panics::caught_async;
pub use panics::treat_exit_as_crash;
pub(super) use panics::{Panicked, caught};

use super::FailedElement;
use crate::operation::{ErrorKind, OperationError};

/// How a verb runs an operation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Runner {
    Blocking {
        run: RunChunk,
        /// Runs it with outputs that are encoded as they are made, for `flat_map`.
        encode: Option<RunEncoded>,
    },
    Asynchronous {
        start: Start,
        finish: Finish,
    },
    Fold {
        combine: RunChunk,
        /// Makes values again of those that have not begun.
        rest: fn(Queue) -> Box<dyn super::values::Values>,
        groups: GroupRunner,
    },
}

/// Failures of all these elements, whose values are not the inputs of the step.
fn wrong_type(offsets: &[u32], name: &str) -> Vec<FailedElement> {
    let error = OperationError::new(
        ErrorKind::Codec,
        format!("operation `{name}` received values of another type"),
    );
    let mut offsets = offsets.to_vec();
    offsets.dedup();
    offsets.into_iter().map(|offset| FailedElement { offset, error: error.clone() }).collect()
}

/// No element of the chunk can run, as its values or the state are of another type.
#[cold]
fn another_type() -> OperationError {
    OperationError::new(ErrorKind::Codec, "values of another type")
}
