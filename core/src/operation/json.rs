//! Values that travel as JSON text.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned, Visitor},
    ser,
};

/// A value that travels as JSON text.
///
/// For types that the encoding of elements cannot carry, because they need a format with names:
/// `serde_json::Value`, and types with `serde(untagged)`, `serde(tag)`, `serde(flatten)`,
/// `serde(skip_serializing_if)`, or `serde(skip)` on a variant before others. JSON is larger and
/// slower, so wrap only the part that needs it.
///
/// The text is no part of an operation's fingerprint: a worker whose type differs fails to read it.
/// Use [`version`](macro@crate::__private::operation) when the type changes.
///
/// Needs the feature `json`.
///
/// ```
/// # use phalanx::prelude::*;
/// use phalanx::Json;
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// #[serde(tag = "kind")]
/// enum Event {
///     Login { user: String },
///     Logout { user: String, seconds: u64 },
/// }
///
/// #[operation]
/// fn user(Json(event): Json<Event>) -> String {
///     match event {
///         Event::Login { user } | Event::Logout { user, .. } => user,
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), phalanx::Error> {
/// # let runtime = Runtime::connect("memory://").await?;
/// let events = [Event::Login { user: "ada".to_owned() }];
/// let users = IndexedStream::from(events.map(Json)).map(User).collect(&runtime).await?;
/// assert_eq!(users, ["ada"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Json<T>(pub T);

impl<T> From<T> for Json<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Serialize> Serialize for Json<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(&self.0).map_err(ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Json<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = String;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
                Ok(text.to_owned())
            }
        }

        let text = deserializer.deserialize_str(Text)?;
        serde_json::from_str(&text).map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::codec::{decode, encode_checked};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum State {
        New,
        #[serde(skip)]
        Local,
        Running,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Any {
        Number(u8),
        Other {
            #[serde(flatten)]
            rest: Value,
            #[serde(skip_serializing_if = "Option::is_none")]
            state: Option<State>,
        },
    }

    #[test]
    fn what_the_encoding_cannot_carry_travels_as_json() {
        let other = |state| Any::Other { rest: json!({ "a": [1, null] }), state };
        for any in [Any::Number(3), other(None), other(Some(State::Running))] {
            let sent = (7u8, Json(any), vec![Json(State::New), Json(State::Running)]);
            let bytes = encode_checked(&sent).unwrap();
            assert_eq!(decode::<(u8, Json<Any>, Vec<Json<State>>)>(&bytes).unwrap(), sent);
        }
        let error = encode_checked(&Json(State::Local)).unwrap_err().to_string();
        assert!(error.contains("State::Local"), "{error}");
    }
}
