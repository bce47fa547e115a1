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
/// The encoding is not self-describing, so types that need a self-describing format, such as
/// `serde_json::Value` or types with `#[serde(untagged)]`, `#[serde(flatten)]` or
/// `#[serde(skip_serializing_if)]`, are rejected when a program is planned or an element is
/// encoded.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent between leader and workers",
    label = "not `Serialize`, not `Deserialize`, not `Send`, or it borrows",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, and replace borrowed fields by owned ones"
)]
pub trait Data: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Data for T {}
