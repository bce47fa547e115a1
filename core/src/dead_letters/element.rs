//! What a leader writes a dead letter about.

use bytes::Bytes;

use crate::{broker::Pool, error::ExecuteError, registry::StepReference};

/// An element that failed permanently, or partial results that could not be combined.
#[derive(Debug)]
pub(crate) struct DeadElement {
    /// The pool whose workers ran it.
    pub(crate) pool: Pool,
    /// The steps of its stage that were still to be run on it.
    pub(crate) steps: Vec<StepReference>,
    pub(crate) payload: Bytes,
    /// The length of each encoding in `payload`, in bytes.
    pub(crate) lengths: Vec<u32>,
    pub(crate) error: ExecuteError,
}
