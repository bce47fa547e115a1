//! The structure of a type, as postcard sees it: what two programs must agree on.
//!
//! Traced by running the type's `Deserialize` on made-up values. Names of fields and variants
//! count, names of types do not, newtypes are transparent. What no made-up value reaches is `_`:
//! a partial trace may miss a difference, it never invents one, because the same type makes the
//! same trace in every program.

mod error;
mod format;
mod render;
mod samples;
mod session;
mod tracer;

use serde::de::DeserializeOwned;
use tracer::Tracer;

/// What was found out about a type.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    /// Equal for equal structures.
    pub(super) hash: u64,
    /// For people; cut when it is long.
    pub(super) text: String,
    /// Why postcard cannot carry the type, where it cannot.
    pub(super) unsupported: Option<Unsupported>,
}

/// What postcard cannot carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsupported {
    /// From the type to the value: `.shapes[].kind`.
    pub(super) path: String,
    pub(super) reason: &'static str,
}

/// The structure of `T`.
pub(super) fn trace<T: DeserializeOwned>() -> Trace {
    let session = session::explore(&mut |session| T::deserialize(Tracer(session)).map(drop));
    Trace {
        hash: render::hash(&session.containers, session.root),
        text: render::text(&session.containers, session.root),
        unsupported: session.unsupported,
    }
}

#[cfg(test)]
mod tests;
