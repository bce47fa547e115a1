//! The attributes of serde that postcard cannot carry, recognized by the visitors that they use.

use std::any::type_name;

pub(super) const FLATTEN: &str =
    "has `serde(flatten)`, which reads fields by name: write the fields out";
pub(super) const ADJACENT: &str =
    "has `serde(tag, content)`, which puts a tag beside the content: remove the attribute";
const TAG: &str =
    "has `serde(tag)`, which looks for the tag among the fields: remove the attribute";
const UNTAGGED: &str =
    "has `serde(untagged)`, which tries one variant after the other: remove the attribute";
const JSON: &str = "is a `serde_json::Value`, which can be anything: use a type of your own";
const OTHER: &str = "needs a format that describes itself: implement `Deserialize` without \
     `deserialize_any`";

/// Why a type with this visitor needs a format that describes itself.
pub(super) fn self_describing<V>() -> &'static str {
    let visitor = type_name::<V>();
    // The name of the type itself can be among the parameters.
    let visitor = visitor.split_once('<').map_or(visitor, |(outer, _)| outer);
    let known = [("TaggedContentVisitor", TAG), ("ContentVisitor", UNTAGGED), ("serde_json", JSON)];
    known.iter().find(|(part, _)| visitor.contains(part)).map_or(OTHER, |(_, reason)| *reason)
}

/// Only the name of the visitor distinguishes the tag of such an enum from an enum.
pub(super) fn is_adjacently_tagged<V>() -> bool {
    type_name::<V>().contains("AdjacentlyTagged")
}
