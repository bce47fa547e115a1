//! Why an operation cannot be used in a plan.

use super::Verb;

/// Why an operation cannot be used in a plan, or the registry not at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two operations have one name.
    #[error(
        "two operations are named `{name}`, at {} and at {}: give one of them another name with \
         `#[remote(name = \"…\")]`", places[0], places[1]
    )]
    Duplicate {
        /// The name.
        name: String,
        /// File and line of both.
        places: [String; 2],
    },
    /// No operation can have this name.
    #[error("`{name}`, at {place}, cannot name an operation: use 1 to 255 bytes without spaces")]
    Name {
        /// The name.
        name: String,
        /// File and line.
        place: String,
    },
    /// An instance of a generic operation that has no entry.
    #[error(
        "`{type_name}` is not registered: write `phalanx::register!({type_name});` beside the type"
    )]
    Unregistered {
        /// The type.
        type_name: &'static str,
    },
    /// A type of the operation cannot travel.
    #[error("the {what} of operation `{name}` cannot travel: `{type_name}`{} {reason}", at(.path))]
    Unsupported {
        /// The operation's name.
        name: String,
        /// `state`, `input` or `output`.
        what: &'static str,
        /// The type.
        type_name: &'static str,
        /// From the type to the place in it that cannot: `.shapes[].kind`.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// An operation cannot be used in this way.
    #[error("operation `{name}` cannot be used for {verb:?}: {}", needs(*.verb))]
    Verb {
        /// The operation's name.
        name: String,
        /// What was asked for.
        verb: Verb,
    },
    /// The state of an operation does not serialize.
    #[error("the state of operation `{name}` does not serialize: {reason}")]
    State {
        /// The operation's name.
        name: String,
        /// What the encoder said.
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
