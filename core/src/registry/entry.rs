//! What the derive places for each operation: const data, and one function that describes it.

use std::{any::TypeId, time::Duration};

use linkme::distributed_slice;

use super::Description;

/// The operations of this program, in no order.
#[distributed_slice]
pub static PHALANX_OPERATIONS: [OperationEntry];

/// One operation, or one registered instance of a generic one.
#[derive(Debug)]
pub struct OperationEntry {
    /// By what it is found.
    pub name: EntryName,
    /// File and line of the derive, or of `register!`.
    pub place: &'static str,
    /// What the type declares of itself.
    pub declaration: Declaration,
    /// The type.
    pub type_id: fn() -> TypeId,
    /// What can be done with it; `None` where it implements nothing.
    pub describe: fn() -> Option<Description>,
}

/// How an entry is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryName {
    /// As the type declares.
    Declared,
    /// As the type declares, with the arguments of this instance: the text of the type.
    Instance(&'static str),
    /// By `register!(Type => "name")`.
    Given(&'static str),
    /// Not an operation: some linkers do not take an empty slice, so the facade places one.
    Placeholder,
}

/// What `#[remote(…)]` says of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declaration {
    /// `name`, or module path and identifier.
    pub name: &'static str,
    /// `version`.
    pub version: u32,
    /// `pool`.
    pub pool: Option<&'static str>,
    /// `timeout`, of one element.
    pub timeout: Option<Duration>,
    /// `retries`, of one element.
    pub retries: Option<u32>,
    /// `fingerprint`.
    pub fingerprint: FingerprintMode,
}

impl Declaration {
    /// The defaults, under this name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            version: 0,
            pool: None,
            timeout: None,
            retries: None,
            fingerprint: FingerprintMode::Structure,
        }
    }
}

/// What tells two builds of an operation apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FingerprintMode {
    /// Version and structure of state, input and output.
    Structure,
    /// The version alone.
    Version,
}

impl OperationEntry {
    /// What keeps the slice from being empty.
    pub const PLACEHOLDER: Self = Self {
        name: EntryName::Placeholder,
        place: "",
        declaration: Declaration::new(""),
        type_id: TypeId::of::<()>,
        describe: || None,
    };
}

/// Implemented by the derive, beside the marker.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not made for remote execution",
    label = "missing `#[derive(RemoteExecute)]`",
    note = "add `#[derive(Serialize, Deserialize, RemoteExecute)]` to the type"
)]
pub trait HasDeclaration {
    /// What `#[remote(…)]` says.
    const DECLARATION: Declaration;
}
