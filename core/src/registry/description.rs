//! Descriptions of operations: their kind, types and verbs, with the types erased.

use std::{any::TypeId, ops::Range};

use super::{
    Column, Verb,
    execution::{Body, GuardedValues, caught},
    structure::{self, Trace},
};
use crate::{
    codec::{self, CodecError},
    operation::{Data, ErrorKind, OperationError, RemoteExecute},
};

/// The kind, the types and the verbs of an operation. Made by probing its type.
#[derive(Debug)]
pub struct Description {
    /// The trait that it implements.
    pub kind: OperationKind,
    pub(super) state: TypeRole,
    pub(super) input: TypeRole,
    pub(super) output: TypeRole,
    pub(super) verbs: Vec<(Verb, VerbEntry)>,
}

/// The trait that an operation implements.
///
/// ```
/// # use phalanx::prelude::*;
/// use phalanx::registry::{OperationKind, Registry};
///
/// #[operation(name = "wait")]
/// async fn wait(milliseconds: u64) {
///     tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
/// }
///
/// let registry = Registry::global()?;
/// assert_eq!(registry.get("wait").unwrap().kind(), OperationKind::Asynchronous);
/// # Ok::<(), phalanx::registry::RegistryError>(())
/// ```
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
    /// Adds a verb, if the probe found that the types of the operation allow it.
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

/// The state, input or output type of an operation, whose structure is part of the fingerprint.
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

/// Decoding and encoding of columns of one type: one instance of each function for a type.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColumnCodec {
    pub(super) vec_type: fn() -> TypeId,
    pub(super) decode: DecodeColumn,
    pub(super) encode: EncodeColumn,
}

/// Takes the bytes, the offset of the first value, and the most values and bytes to decode. An
/// error has the offset of the value and the reason.
type DecodeColumn = fn(&mut &[u8], u32, u32, usize) -> Result<Column, (u32, String)>;
/// Takes the values, their range, and the buffers for their encodings and ends. An error has the
/// number of the value in the range and the reason.
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

    /// For the outputs of `try_map`, which are never decoded by this codec: a step that takes
    /// `Result<T, OperationError>` has its own.
    pub(super) fn of_results<T: Data>() -> Self {
        type Wrapped<T> = Result<T, OperationError>;
        Self {
            vec_type: TypeId::of::<Vec<Wrapped<T>>>,
            decode: |_, first, _, _| Err((first, "outputs are not decoded here".to_owned())),
            encode: encode_results::<T>,
        }
    }
}

/// The most values for which memory is reserved in advance: the number comes from a message.
const RESERVED: u32 = 1024;

fn decode<T: Data>(
    bytes: &mut &[u8],
    first: u32,
    max: u32,
    max_bytes: usize,
) -> Result<Column, (u32, String)> {
    let mut values = GuardedValues::with_capacity(max.min(RESERVED) as usize);
    let mut rest = *bytes;
    let mut offset = first;
    caught(|| {
        while offset - first < max && bytes.len() - rest.len() < max_bytes.max(1) {
            let value = codec::decode_front::<T>(&mut rest).map_err(|error| error.to_string())?;
            values.push(value);
            offset += 1;
        }
        Ok(())
    })
    .unwrap_or_else(|panic| Err(panic.to_string()))
    .map_err(|reason| (offset, reason))?;
    *bytes = rest;
    Ok(Column::new(values.take(), (first..offset).collect()))
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
        // A panic can leave a half-written value.
        bytes.truncate(good);
        (done, error)
    })
}

fn codec_error(reason: String) -> OperationError {
    OperationError::new(ErrorKind::Codec, reason)
}
