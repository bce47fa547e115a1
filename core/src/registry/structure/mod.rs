//! The structure of a type as postcard encodes it, on which leader and workers must agree.
//!
//! Found by running the `Deserialize` of the type on made-up values. Names of fields and variants
//! are part of the structure; names of types are not, and newtypes are transparent. Parts that no
//! made-up value reaches are `_`. Such a partial trace may miss a difference but never invents one,
//! because the same type has the same trace in every program.

mod error;
mod format;
mod render;
mod samples;
mod session;
mod tracer;

use serde::de::DeserializeOwned;

use self::{error::TraceError, session::Session, tracer::Tracer};

/// The traced structure of a type.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    /// The hash of the structure.
    pub(super) hash: u64,
    /// The structure as text; cut if it is long.
    pub(super) text: String,
    /// The part of the type that postcard cannot encode, if there is one.
    pub(super) unsupported: Option<Unsupported>,
}

/// A part of a type that postcard cannot encode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsupported {
    /// The path from the type to the part, for example `.shapes[].kind`.
    pub(super) path: String,
    pub(super) reason: &'static str,
}

/// Makes one value of a type up.
pub(super) type Visit = fn(&mut Session) -> Result<(), TraceError>;

/// The only part of a trace that is compiled for each type.
pub(super) fn visit<T: DeserializeOwned>(session: &mut Session) -> Result<(), TraceError> {
    T::deserialize(Tracer(session))?;
    Ok(())
}

/// The structure of the type that `visit` visits.
pub(super) fn trace(visit: Visit) -> Trace {
    let session = session::explore(visit);
    Trace {
        hash: render::hash(&session.containers, session.root),
        text: render::text(&session.containers, session.root),
        unsupported: session.unsupported,
    }
}

#[cfg(test)]
mod tests;
