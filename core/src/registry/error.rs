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
        "two operations are named `{name}`, at {} and at {}; {}", places[0], places[1],
        same_name(.places)
    )]
    Duplicate {
        /// The name of the operation.
        name: String,
        /// The file and line of each.
        places: [String; 2],
    },
    /// An operation has an invalid name.
    #[error(
        "invalid operation name `{name}` at {place}; use 1 to 255 bytes without spaces, in \
         `#[remote(name = \"…\")]` or `register!(… => \"…\")`"
    )]
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

/// What to do about two operations of one name, by their places.
fn same_name(places: &[String; 2]) -> String {
    let [first, second] = places;
    if first == second {
        return "the file is a module of two crates, as with `mod ops;` in `lib.rs` and in \
                `main.rs`: declare it in `lib.rs` only, and write `use my_package::ops;` in \
                `main.rs`"
            .to_owned();
    }
    match versions(first, second) {
        Some([old, new]) => format!(
            "two versions of one crate are linked, {old} and {new}: depend on one of them \
             (`cargo tree --duplicates` shows who wants which)"
        ),
        None => "rename one of them with `#[remote(name = \"…\")]`".to_owned(),
    }
}

/// The directories `crate-1.0.0` and `crate-2.0.0`, if two paths have such in the same place.
fn versions<'a>(first: &'a str, second: &'a str) -> Option<[&'a str; 2]> {
    let mut parts = first.split(['/', '\\']).zip(second.split(['/', '\\']));
    let (old, new) = parts.find(|(old, new)| old != new)?;
    let package = |part: &'a str| {
        let (name, version) = part.rsplit_once('-')?;
        version.starts_with(|c: char| c.is_ascii_digit()).then_some(name)
    };
    (package(old)? == package(new)?).then_some([old, new])
}

fn needs(verb: Verb) -> &'static str {
    match verb {
        Verb::Map | Verb::TryMap | Verb::MapValues | Verb::KeyBy => {
            "it needs an `Operation` or an `AsyncOperation`"
        }
        Verb::Filter => "it needs `Output = bool` and `Input: Clone`",
        Verb::FilterValues | Verb::FilterKeys => "it needs `Output = bool`",
        Verb::Keys | Verb::Values | Verb::Swap | Verb::Sample => "it takes no operation",
        Verb::FlatMap | Verb::FlatMapValues => "it needs an `Output` that can be iterated over",
        Verb::Fold | Verb::FoldByKey => "it needs a `Monoid`",
        Verb::Reduce | Verb::ReduceByKey => "it needs a blocking operation from `(T, T)` to `T`",
    }
}

crate::__debug_as_report!(RegistryError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_for_two_operations_of_one_name_can_be_followed() {
        let advice = |first: &str, second: &str| {
            let (name, places) = ("a::b".to_owned(), [first.to_owned(), second.to_owned()]);
            RegistryError::Duplicate { name, places }.to_string()
        };
        let twice = advice("src/ops.rs:3", "src/ops.rs:3");
        assert!(twice.contains("write `use my_package::ops;` in `main.rs`"), "{twice}");
        let versions =
            advice("/r/index/prices-1.2.0/src/lib.rs:3", "/r/index/prices-2.0.1/src/lib.rs:4");
        assert!(versions.contains("linked, prices-1.2.0 and prices-2.0.1: "), "{versions}");
        for other in ["src/other.rs:3", "src/ops.rs:9", "/r/index/other-1.0.0/src/lib.rs:3"] {
            let rename = advice("src/ops.rs:3", other);
            assert!(
                rename.ends_with("rename one of them with `#[remote(name = \"…\")]`"),
                "{rename}"
            );
        }
    }
}
