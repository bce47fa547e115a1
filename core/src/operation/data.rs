//! Values that can be sent between leader and workers.

use serde::{Serialize, de::DeserializeOwned};

/// A value that can be sent between leader and workers: inputs and outputs of operations.
///
/// Implemented for every type that serde can serialize and deserialize, that is `Send` and that
/// borrows nothing.
///
/// ```
/// # use phalanx::prelude::*;
/// #[derive(Serialize, Deserialize)]
/// struct Point {
///     x: f64,
///     y: f64,
/// }
///
/// fn is_data<T: phalanx::operation::Data>() {}
/// is_data::<Point>();
/// is_data::<Vec<Option<String>>>();
/// ```
///
/// The encoding has no names: what a type writes must be what it reads, in the same order. Types for
/// which that does not hold are rejected when a program is planned, with the attribute, the variant
/// or the field that is the reason: `serde_json::Value`, and types with `#[serde(untagged)]`,
/// `#[serde(tag)]`, `#[serde(flatten)]`, `#[serde(skip_serializing_if)]`, with
/// `#[serde(skip_serializing)]` or `#[serde(skip_deserializing)]` alone on a field, or with
/// `#[serde(skip)]` on a variant that is not at the end. A value that cannot be made up in advance
/// is checked when it is first encoded, and rejected then. `phalanx::Json` (feature `json`) sends
/// any type, as JSON text. Names may differ (`#[serde(rename(serialize = "…"))]`).
///
/// Values that are nested more than 1,000 deep are errors: send a long chain as a sequence.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent between leader and workers",
    label = "not `Serialize`, not `Deserialize`, not `Send`, or it borrows",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, and replace borrowed fields by owned ones"
)]
pub trait Data: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Data for T {}
