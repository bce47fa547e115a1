//! The content of a dead letter, before it is written.

use bytes::Bytes;

use crate::{broker::Pool, error::ExecuteError, registry::StepReference};

/// An element that failed permanently, or partial results that could not be combined.
#[derive(Debug)]
pub(crate) struct DeadElement {
    /// The pool whose workers ran the element.
    pub(crate) pool: Pool,
    /// The steps of its stage that remain to be run on the element.
    pub(crate) steps: Vec<StepReference>,
    pub(crate) payload: Bytes,
    /// The length of each encoding in `payload`, in bytes.
    pub(crate) lengths: Vec<u32>,
    pub(crate) error: ExecuteError,
}
