//! What can be done with an operation, as functions whose types are erased.

use std::{any::TypeId, ops::Range};

use super::{
    Column, Verb,
    execution::{Body, Guarded, caught},
    structure::{self, Trace},
};
use crate::{
    codec::{self, CodecError},
    operation::{Data, ErrorKind, OperationError, RemoteExecute},
};

/// What can be done with an operation. Made by probing its type.
#[derive(Debug)]
pub struct Description {
    /// Which of the three traits it implements.
    pub kind: OperationKind,
    pub(super) state: TypeRole,
    pub(super) input: TypeRole,
    pub(super) output: TypeRole,
    pub(super) verbs: Vec<(Verb, VerbEntry)>,
}

/// Which trait an operation implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperationKind {
    /// [`Operation`](crate::operation::Operation).
    Blocking,
    /// [`AsyncOperation`](crate::operation::AsyncOperation).
    Asynchronous,
    /// [`Monoid`](crate::operation::Monoid).
    Monoid,
}

impl Description {
    /// Adds a verb, where the probe found that its types allow it.
    #[must_use]
    pub fn with(mut self, verb: Verb, entry: Option<VerbEntry>) -> Self {
        self.verbs.extend(entry.map(|entry| (verb, entry)));
        self
    }

    pub(super) fn verb(&self, verb: Verb) -> Option<&VerbEntry> {
        self.verbs.iter().find(|(known, _)| *known == verb).map(|(_, entry)| entry)
    }
}

/// How an operation runs under one verb.
#[derive(Debug, Clone, Copy)]
pub struct VerbEntry {
    pub(super) input: ColumnCodec,
    pub(super) output: ColumnCodec,
    /// Decodes the state and binds it.
    pub(super) bind: fn(&[u8]) -> Result<Body, CodecError>,
}

/// A type whose structure counts for the fingerprint.
#[derive(Debug, Clone, Copy)]
pub(super) struct TypeRole {
    pub(super) type_name: fn() -> &'static str,
    pub(super) trace: fn() -> Trace,
}

impl TypeRole {
    pub(super) fn data<T: Data>() -> Self {
        Self { type_name: std::any::type_name::<T>, trace: structure::trace::<T> }
    }

    pub(super) fn state<O: RemoteExecute>() -> Self {
        Self { type_name: std::any::type_name::<O>, trace: structure::trace::<O> }
    }
}

/// How columns of one type are read and written: one instance of each for a type.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColumnCodec {
    pub(super) vec_type: fn() -> TypeId,
    pub(super) decode: DecodeColumn,
    pub(super) encode: EncodeColumn,
}

/// Bytes, first origin, most values, most bytes; on error, at which origin and why.
type DecodeColumn = fn(&mut &[u8], u32, u32, usize) -> Result<Column, (u32, String)>;
/// Values, which of them, where to, and where each ends; on error, at which and why.
type EncodeColumn = fn(
    &Column,
    Range<usize>,
    &mut Vec<u8>,
    Option<&mut Vec<u32>>,
) -> Result<(), (usize, OperationError)>;

impl ColumnCodec {
    pub(super) fn of<T: Data>() -> Self {
        Self { vec_type: TypeId::of::<Vec<T>>, decode: decode::<T>, encode: encode::<T> }
    }

    /// For the outputs of `try_map`, which are read by nobody in this form: a step that takes
    /// `Result<T, OperationError>` brings its own.
    pub(super) fn of_results<T: Data>() -> Self {
        type Wrapped<T> = Result<T, OperationError>;
        Self {
            vec_type: TypeId::of::<Vec<Wrapped<T>>>,
            decode: |_, first, _, _| Err((first, "outputs are not decoded here".to_owned())),
            encode: encode_results::<T>,
        }
    }
}

/// No hint from outside reserves more than this many values at once.
const RESERVED: u32 = 1024;

fn decode<T: Data>(
    bytes: &mut &[u8],
    first: u32,
    max: u32,
    max_bytes: usize,
) -> Result<Column, (u32, String)> {
    let mut values = Guarded::with_capacity(max.min(RESERVED) as usize);
    let mut rest = *bytes;
    let mut at = first;
    caught(|| {
        while at - first < max && bytes.len() - rest.len() < max_bytes.max(1) {
            let value = codec::decode_front::<T>(&mut rest).map_err(|error| error.to_string())?;
            values.push(value);
            at += 1;
        }
        Ok(())
    })
    .unwrap_or_else(|panic| Err(panic.to_string()))
    .map_err(|reason| (at, reason))?;
    *bytes = rest;
    Ok(Column::new(values.take(), (first..at).collect()))
}

fn encode<T: Data>(
    column: &Column,
    range: Range<usize>,
    bytes: &mut Vec<u8>,
    ends: Option<&mut Vec<u32>>,
) -> Result<(), (usize, OperationError)> {
    let values = selected::<T>(column, range)?;
    encode_values(values, bytes, ends)
}

fn encode_results<T: Data>(
    column: &Column,
    range: Range<usize>,
    bytes: &mut Vec<u8>,
    mut ends: Option<&mut Vec<u32>>,
) -> Result<(), (usize, OperationError)> {
    /// Postcard's index of a variant of `Result`.
    const OK: u8 = 0;
    const ERR: u8 = 1;
    let values = selected::<Result<T, OperationError>>(column, range)?;
    for (index, value) in values.iter().enumerate() {
        let before = bytes.len();
        let done = match value {
            Ok(value) => {
                bytes.push(OK);
                encode_values(std::slice::from_ref(value), bytes, ends.as_deref_mut())
            }
            Err(error) => {
                bytes.push(ERR);
                encode_values(std::slice::from_ref(error), bytes, ends.as_deref_mut())
            }
        };
        if let Err((_, error)) = done {
            bytes.truncate(before);
            return Err((index, error));
        }
    }
    Ok(())
}

fn selected<T: 'static>(
    column: &Column,
    range: Range<usize>,
) -> Result<&[T], (usize, OperationError)> {
    column.values::<T>().and_then(|values| values.get(range)).ok_or_else(|| {
        let type_name = std::any::type_name::<T>();
        (0, codec_error(format!("a column holds other values than those of `{type_name}`")))
    })
}

/// The one instance of a type's encoder.
fn encode_values<T: serde::Serialize>(
    values: &[T],
    bytes: &mut Vec<u8>,
    ends: Option<&mut Vec<u32>>,
) -> Result<(), (usize, OperationError)> {
    let before = bytes.len();
    let mut done = 0;
    let mut good = before;
    let outcome = caught(|| {
        let mut ends = ends;
        for value in values {
            codec::encode_into(value, bytes).map_err(|error| codec_error(error.to_string()))?;
            done += 1;
            good = bytes.len();
            if let Some(ends) = &mut ends {
                ends.push(u32::try_from(good).unwrap_or(u32::MAX));
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|panic| Err(codec_error(panic.to_string()))).map_err(|error| {
        // A panic leaves half a value behind.
        bytes.truncate(good);
        (done, error)
    })
}

fn codec_error(reason: String) -> OperationError {
    OperationError::new(ErrorKind::Codec, reason)
}
