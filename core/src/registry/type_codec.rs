//! Decoding and encoding of columns.
//!
//! The loops over the values of a type are compiled once for each type; everything around them once
//! for all.

use std::{any::TypeId, fmt, ops::Range};

use super::{
    Column,
    execution::{Panicked, Queue, caught},
    values::{Guarded, Values},
};
use crate::{
    codec::{self, CodecError, Encodings, Known, place},
    operation::Data,
};

/// The most values for which memory is reserved in advance: the number comes from a message.
const RESERVED: u32 = 1024;

/// The type of the inputs of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct InputCodec {
    vec_type: fn() -> TypeId,
    decoder: Decoder,
    queue: fn(&mut Guarded) -> Option<Queue>,
}

impl InputCodec {
    pub(super) const fn of<T: Data>() -> Self {
        Self { vec_type: TypeId::of::<Vec<T>>, decoder: Decoder::of::<T>(), queue: queue::<T> }
    }

    pub(super) fn accepts(&self, column: &Column) -> bool {
        column.guarded().vec_type() == Some((self.vec_type)())
    }

    /// The values of a column, to be run one after the other, and their batch offsets.
    ///
    /// # Errors
    /// The column itself, if its values are of another type.
    pub(super) fn queue(&self, column: Column) -> Result<(Queue, Vec<u32>), Column> {
        let (mut values, offsets) = column.into_parts();
        match (self.queue)(&mut values) {
            Some(queue) => Ok((queue, offsets)),
            None => Err(Column::from_parts(values, offsets)),
        }
    }

    /// Decodes up to `max` values from the front of `bytes`, stopping early when `max_bytes` have
    /// been read. `first` is the batch offset of the first.
    ///
    /// # Errors
    /// The batch offset of the value that does not decode, and the reason.
    pub(super) fn decode(
        &self,
        bytes: &mut &[u8],
        first: u32,
        max: u32,
        max_bytes: usize,
    ) -> Result<Column, (u32, String)> {
        let Decoder { new, decode } = self.decoder;
        let mut values = Guarded::new(new(max.min(RESERVED) as usize));
        let mut rest = *bytes;
        let mut decoding = Decoding { len: rest.len(), rest: &mut rest, max, max_bytes };
        let outcome = caught(|| decode(&mut values, &mut decoding));
        // There are no more values than `max`.
        let after = first + values.len() as u32;
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err((after, error.to_string())),
            Err(panic) => return Err((after, panic.to_string())),
        }
        *bytes = rest;
        Ok(Column::from_parts(values, (first..after).collect()))
    }
}

/// Decodes values of one type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoder {
    new: fn(usize) -> Box<dyn Values>,
    decode: fn(&mut Guarded, &mut Decoding<'_, '_>) -> Result<(), CodecError>,
}

impl Decoder {
    pub(super) const fn of<T: Data>() -> Self {
        Self { new: new::<T>, decode: decode::<T> }
    }

    /// Decodes a value from the front of each of these, and cuts it off; `None` if one does not
    /// decode.
    pub(super) fn decode_each(&self, bytes: &mut [&[u8]]) -> Option<Guarded> {
        let mut values = Guarded::new((self.new)(bytes.len()));
        let decoded = caught(|| {
            bytes.iter_mut().zip(1..).all(|(rest, max)| {
                let len = rest.len();
                let mut decoding = Decoding { len, rest, max, max_bytes: usize::MAX };
                (self.decode)(&mut values, &mut decoding).is_ok()
            })
        });
        decoded.is_ok_and(|all| all).then_some(values)
    }
}

/// The type of the outputs of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutputCodec {
    new: fn(usize) -> Box<dyn Values>,
    encode: fn(&Guarded, Range<usize>, &mut Encoding<'_>) -> Result<(), CodecError>,
    type_id: fn() -> TypeId,
    /// Postcard's index of the variant `Ok`, if the outputs are sent as results.
    prefix: Option<u8>,
}

impl OutputCodec {
    pub(super) const fn of<T: Data>() -> Self {
        Self { new: new::<T>, encode: encode::<T>, type_id: TypeId::of::<T>, prefix: None }
    }

    /// For the outputs of `try_map`, each of which is an `Ok`. A step in the same pass that takes
    /// results does not accept the column, so it is encoded for it.
    pub(super) fn as_results(mut self) -> Self {
        self.prefix = Some(0);
        self
    }

    pub(super) fn type_id(&self) -> TypeId {
        (self.type_id)()
    }

    /// No values, with memory for some.
    pub(super) fn values(&self, capacity: usize) -> Guarded {
        Guarded::new((self.new)(capacity))
    }

    /// Appends the encodings of the values `range` to `encoding`.
    ///
    /// # Errors
    /// The number, within `range`, of the value that does not serialize, and the reason. The values
    /// before it have been appended.
    pub(super) fn encode(
        &self,
        values: &Guarded,
        range: Range<usize>,
        mut encoding: Encoding<'_>,
    ) -> Result<(), (usize, Unencoded)> {
        encoding.prefix = self.prefix;
        let error = match caught(|| (self.encode)(values, range, &mut encoding)) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => Unencoded::Refused(error),
            Err(panic) => Unencoded::Panicked(panic),
        };
        // A panic can leave a half-written value.
        encoding.bytes.truncate(encoding.good);
        Err((encoding.done, error))
    }
}

/// Why a value was not encoded.
#[derive(Debug)]
pub(super) enum Unencoded {
    Refused(CodecError),
    Panicked(Panicked),
}

impl fmt::Display for Unencoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Panicked(panic) => panic.fmt(f),
        }
    }
}

/// The encodings of values that are being decoded.
struct Decoding<'a, 'b> {
    rest: &'a mut &'b [u8],
    /// The number of bytes at the start.
    len: usize,
    max: u32,
    max_bytes: usize,
}

impl Decoding<'_, '_> {
    #[inline]
    fn goes_on(&self, decoded: usize) -> bool {
        decoded < self.max as usize && self.len - self.rest.len() < self.max_bytes.max(1)
    }
}

/// The encodings of values so far.
pub(super) struct Encoding<'a> {
    bytes: &'a mut Vec<u8>,
    /// The end of each value.
    ends: Option<&'a mut Vec<u32>>,
    /// The end of the key of each value.
    key_ends: Option<&'a mut Vec<u32>>,
    prefix: Option<u8>,
    /// The number of values that are complete, and the end of the last one.
    done: usize,
    good: usize,
}

impl<'a> Encoding<'a> {
    /// Appends to these.
    pub(super) fn new(bytes: &'a mut Vec<u8>, ends: Option<&'a mut Vec<u32>>) -> Self {
        let good = bytes.len();
        Self { bytes, ends, key_ends: None, prefix: None, done: 0, good }
    }

    /// Appends to these, with the ends of the keys.
    pub(super) fn rows(encodings: &'a mut Encodings) -> Self {
        let Encodings { bytes, key_ends, ends } = encodings;
        Self { key_ends: Some(key_ends), ..Self::new(bytes, Some(ends)) }
    }

    #[inline]
    fn begin(&mut self) {
        if let Some(prefix) = self.prefix {
            self.bytes.push(prefix);
        }
    }

    #[inline]
    fn end(&mut self, first_item: Option<usize>) -> Result<(), CodecError> {
        if let Some(ends) = &mut self.ends {
            let end = place(self.bytes.len())?;
            ends.push(end);
            if let Some(key_ends) = &mut self.key_ends {
                // It is at most `end`, so it fits.
                key_ends.push(first_item.map_or(end, |at| at as u32));
            }
        }
        self.done += 1;
        self.good = self.bytes.len();
        Ok(())
    }
}

fn new<T: Data>(capacity: usize) -> Box<dyn Values> {
    Box::new(Vec::<T>::with_capacity(capacity))
}

fn queue<T: Data>(values: &mut Guarded) -> Option<Queue> {
    Some(Box::new(std::mem::take(values.vec_mut::<T>()?).into_iter()))
}

fn decode<T: Data>(
    values: &mut Guarded,
    decoding: &mut Decoding<'_, '_>,
) -> Result<(), CodecError> {
    let Some(values) = values.vec_mut::<T>() else {
        return Err(CodecError::another_type());
    };
    while decoding.goes_on(values.len()) {
        values.push(codec::decode_front(decoding.rest)?);
    }
    Ok(())
}

fn encode<T: Data>(
    values: &Guarded,
    range: Range<usize>,
    encoding: &mut Encoding<'_>,
) -> Result<(), CodecError> {
    let mut known = Known::of::<T>();
    for index in range {
        let Some(value) = values.vec::<T>().and_then(|values| values.get(index)) else {
            return Err(CodecError::another_type());
        };
        encoding.begin();
        let first_item = codec::append(value, encoding.bytes, &mut known)?;
        encoding.end(first_item)?;
    }
    Ok(())
}
