//! What may travel.

use serde::{Serialize, de::DeserializeOwned};

/// A value that can travel between leader and workers.
///
/// Implemented for every type that serde can write and read and that owns what it holds.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel between leader and workers",
    label = "not serializable, not deserializable, not `Send`, or it borrows",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, and own what it holds"
)]
pub trait Data: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Data for T {}
