//! Entries of the registry, which the derive places for each operation.

use std::{any::TypeId, time::Duration};

use linkme::distributed_slice;

use super::Description;

/// The operations that are linked into this program, in no particular order.
#[distributed_slice]
pub static PHALANX_OPERATIONS: [OperationEntry];

/// One operation, or one registered instance of a generic one.
#[derive(Debug)]
pub struct OperationEntry {
    /// How the operation is named.
    pub name: EntryName,
    /// The file and line of the derive, or of `register!`.
    pub place: &'static str,
    /// The options that the type declares.
    pub declaration: Declaration,
    /// The id of the type.
    pub type_id: fn() -> TypeId,
    /// The description of the type; `None` if it implements none of the traits.
    pub description: Option<Description>,
}

/// How an entry is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryName {
    /// By the declared name.
    Declared,
    /// By the declared name with the arguments of this instance, whose type this text is.
    Instance(&'static str),
    /// By `register!(Type => "name")`.
    Given(&'static str),
    /// Not an operation. The facade places one, because some linkers reject an empty slice.
    Placeholder,
}

/// The options in `#[remote(…)]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declaration {
    /// `name`; default: the module path and identifier of the type.
    pub name: &'static str,
    /// `version`; default: 0.
    pub version: u32,
    /// `pool`; `None` is the pool `default`.
    pub pool: Option<&'static str>,
    /// `timeout`: how long one element may run.
    pub timeout: Option<Duration>,
    /// `retries` of one element; `None` is 3.
    pub retries: Option<u32>,
    /// `backoff` before the retries of an element, from its first to its longest; `None` is 100 ms to
    /// 30 s.
    pub backoff: Option<(Duration, Duration)>,
    /// `fingerprint`; default: the structure of the types.
    pub fingerprint: FingerprintMode,
}

impl Declaration {
    /// The default options, with this name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            version: 0,
            pool: None,
            timeout: None,
            retries: None,
            backoff: None,
            fingerprint: FingerprintMode::Structure,
        }
    }
}

/// The inputs of an operation's fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FingerprintMode {
    /// The version, and the structure of state, input and output.
    Structure,
    /// Only the version.
    Version,
}

impl OperationEntry {
    /// An entry without an operation, so that the slice is not empty.
    pub const PLACEHOLDER: Self = Self {
        name: EntryName::Placeholder,
        place: "",
        declaration: Declaration::new(""),
        type_id: TypeId::of::<()>,
        description: None,
    };
}

/// A type with the options of `#[remote(…)]`. Implemented by the derive, together with the marker.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not registered for remote execution",
    label = "missing `#[derive(RemoteExecute)]`",
    note = "add `#[derive(Serialize, Deserialize, RemoteExecute)]` to the type"
)]
pub trait HasDeclaration {
    /// The options in `#[remote(…)]`, or their defaults.
    const DECLARATION: Declaration;
}
