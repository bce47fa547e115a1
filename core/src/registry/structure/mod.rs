//! The structure of a type as postcard encodes it, on which leader and workers must agree.
//!
//! Found by running the `Deserialize` of the type on made-up values, each of which is then written
//! and read again: what a type does not read as it writes it is refused. Names of fields and variants
//! are part of the structure; names of types are not, and newtypes are transparent. Parts that no
//! made-up value reaches are `_`. Such a partial trace may miss a difference but never invents one,
//! because the same type has the same trace in every program.

mod attribute;
mod choice;
mod error;
mod format;
mod mirror;
mod recorder;
mod render;
mod scalar;
mod session;
mod tokens;
mod tracer;

use std::{any::Any, collections::HashSet};

use serde::{Serialize, de::DeserializeOwned};

use self::{
    error::TraceError,
    session::{Aim, Session},
    tracer::Tracer,
};
use crate::codec::{self, Shape};

/// The traced structure of a type.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    /// The hash of the structure.
    pub(super) hash: u64,
    /// The structure as text; cut if it is long.
    pub(super) text: String,
    /// The part of the type that postcard cannot encode, if there is one.
    pub(super) unsupported: Option<Unsupported>,
    /// The shapes of the made-up values, which are read as they are written.
    pub(super) shapes: HashSet<Shape>,
    /// Whether all parts of the type were checked: no made-up value was rejected.
    pub(super) whole: bool,
}

/// A part of a type that postcard cannot encode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsupported {
    /// The path from the type to the part, for example `.shapes[].kind`.
    pub(super) path: String,
    /// What the type does, and what to do about it.
    pub(super) reason: String,
}

/// Makes one value of a type up, and checks that the type reads what it writes.
pub(super) type Visit = fn(&mut Session) -> Result<(), TraceError>;

/// The only part of a trace that is compiled for each type.
pub(super) fn visit<T>(session: &mut Session) -> Result<(), TraceError>
where
    T: Serialize + DeserializeOwned,
{
    let value = T::deserialize(Tracer(session))?;
    let check = |value: &T| session.check(value, |session| T::deserialize(Tracer(session)));
    codec::looked_at(value, check).ok_or(TraceError)
}

/// Checks that a value of a type is read as it is written.
///
/// # Errors
/// What the type does not read as it writes it.
pub(super) fn verify<T>(value: &dyn Any) -> Result<(), String>
where
    T: Serialize + DeserializeOwned + 'static,
{
    let mut session = Session::default();
    if let Some(value) = value.downcast_ref::<T>() {
        session.check(value, |session| T::deserialize(Tracer(session)));
    }
    session.unsupported.map_or(Ok(()), |unsupported| Err(unsupported.reason))
}

/// The structure of the type that `visit` visits.
pub(super) fn trace(visit: Visit) -> Trace {
    let mut session = session::explore(visit, Aim::Structure);
    if session.unsupported.is_none() {
        let omissions = session::explore(visit, Aim::Omissions);
        session.unsupported = omissions.unsupported;
        session.shapes.extend(omissions.shapes);
    }
    Trace {
        hash: render::hash(&session.containers, session.root),
        text: render::text(&session.containers, session.root),
        unsupported: session.unsupported,
        shapes: session.shapes,
        whole: !session.partial,
    }
}

#[cfg(test)]
mod tests;
