//! The content of a dead letter, before it is written.

use bytes::Bytes;

use crate::{broker::Pool, error::ExecuteError, registry::StepReference, wire::LeftOut};

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
    /// Why there is no payload, if it could not be made.
    pub(crate) left_out: Option<LeftOut>,
    pub(crate) error: ExecuteError,
}
