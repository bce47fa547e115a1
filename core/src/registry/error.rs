//! Errors of the registry.

use super::Verb;
use crate::codec::WAY_OUT;

/// Why an operation cannot be used in a program, or the registry of this program is invalid.
///
/// Returned by the end of a program as [`Error::Plan`](crate::Error::Plan).
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two operations have the same name.
    #[error(
        "two operations are named `{name}`, at {} and at {}; rename one of them with \
         `#[remote(name = \"…\")]`", places[0], places[1]
    )]
    Duplicate {
        /// The name of the operation.
        name: String,
        /// The file and line of each.
        places: [String; 2],
    },
    /// An operation has an invalid name.
    #[error("invalid operation name `{name}` at {place}; use 1 to 255 bytes without spaces")]
    Name {
        /// The name of the operation.
        name: String,
        /// The file and line of the operation.
        place: String,
    },
    /// An instance of a generic operation is not registered.
    #[error(
        "`{type_name}` is not registered; add `phalanx::register!({type_name});` next to the type"
    )]
    Unregistered {
        /// The type of the instance.
        type_name: &'static str,
    },
    /// Postcard cannot encode a type of the operation.
    #[error(
        "the {what} of operation `{name}` cannot be encoded: `{type_name}`{} {reason}, {WAY_OUT}",
        at(.path)
    )]
    Unsupported {
        /// The name of the operation.
        name: String,
        /// `state`, `input` or `output`.
        what: &'static str,
        /// The type of the state, input or output.
        type_name: &'static str,
        /// The path within the type to the part that cannot be encoded, for example
        /// `.shapes[].kind`.
        path: String,
        /// The reason, and what to change.
        reason: String,
    },
    /// The types of the operation do not allow this directive.
    #[error("operation `{name}` cannot be used for `{verb}`: {}", needs(*.verb))]
    Verb {
        /// The name of the operation.
        name: String,
        /// The directive.
        verb: Verb,
    },
    /// The state of an operation does not serialize.
    #[error("the state of operation `{name}` does not serialize: {reason}")]
    State {
        /// The name of the operation.
        name: String,
        /// The message of the encoder.
        reason: String,
    },
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(", at `{path}`,") }
}

fn needs(verb: Verb) -> &'static str {
    match verb {
        Verb::Map | Verb::TryMap => "it needs an `Operation` or an `AsyncOperation`",
        Verb::Filter => "it needs `Output = bool` and `Input: Clone`",
        Verb::FlatMap => "it needs an `Output` that can be iterated over",
        Verb::Fold => "it needs a `Monoid`",
        Verb::Reduce => "it needs a blocking operation from `(T, T)` to `T`",
    }
}

crate::__debug_as_report!(RegistryError);
