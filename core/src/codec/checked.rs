//! Encoding with a check that a type reads what it writes.
//!
//! Postcard identifies variants and fields by their position. serde derives the positions for
//! `Serialize` and `Deserialize` independently, so a variant that only one of them has
//! (`serde(skip)`) shifts those after it, and the decoder returns a wrong value without an error.
//! So the first value of each shape is decoded again before it leaves the process: what a shape is
//! written as must be what it is read as. After that, an encoder only compares shapes.

use std::{
    any::TypeId,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    CodecError, decode,
    guard::Guard,
    shape::{Known, Shapes, WAY_OUT, by_name, compare, full_name},
};

/// Appends the encoding of a value to `out`; on error, a part of it. `known` is what is known about
/// the type, and is renewed when this value adds to it. Returns where in `out` the first item of a
/// tuple ends: the key of a pair.
///
/// # Errors
/// Those of [`encode_into`](super::encode_into), or if the value would be read as another one.
#[inline]
pub(crate) fn append<T: Serialize + DeserializeOwned + 'static>(
    value: &T,
    out: &mut Vec<u8>,
    known: &mut Arc<Known>,
) -> Result<Option<usize>, CodecError> {
    let before = out.len();
    let mut guard = Guard::checking(out, known);
    value.serialize(&mut guard)?;
    let first_item = guard.first_item();
    if guard.met_unknown() || !known.is_checked() {
        check(value, &out[before..], known)?;
        *known = Known::of::<T>();
    }
    Ok(first_item)
}

/// As [`append`], with a value that is written as a `T` is: one that borrows what a `T` owns. Only
/// the first value of each shape is checked, so the caller answers for the type.
#[inline]
pub(crate) fn append_as<T, Q>(
    value: &Q,
    out: &mut Vec<u8>,
    known: &mut Arc<Known>,
) -> Result<Option<usize>, CodecError>
where
    T: Serialize + DeserializeOwned + 'static,
    Q: Serialize + ?Sized,
{
    let before = out.len();
    let mut guard = Guard::checking(out, known);
    value.serialize(&mut guard)?;
    let first_item = guard.first_item();
    if guard.met_unknown() || !known.is_checked() {
        check_as::<T, Q>(value, &out[before..], known)?;
        *known = Known::of::<T>();
    }
    Ok(first_item)
}

/// Checks that these bytes, the encoding of the value, are read as a `T` of the same shapes.
#[cold]
fn check_as<T, Q>(value: &Q, bytes: &[u8], known: &Known) -> Result<(), CodecError>
where
    T: Serialize + DeserializeOwned + 'static,
    Q: Serialize + ?Sized,
{
    let written = shapes_of(value)?;
    let read: T = decode(bytes).map_err(|error| unread(&written, &error))?;
    let checked = looked_at(read, |read| {
        check(read, bytes, known)?;
        shapes_of(read)
    });
    let Some(read) = checked else {
        return Err(CodecError::new("the type panics when its value is written again"));
    };
    compare(&written, &read?).map_err(mirrored)
}

/// Checks that these bytes, the encoding of the value, are read as the same value.
#[cold]
fn check<T: Serialize + DeserializeOwned + 'static>(
    value: &T,
    bytes: &[u8],
    known: &Known,
) -> Result<(), CodecError> {
    let written = shapes_of(value)?;
    // The same names at other addresses.
    if !known.is_checked() || !written.keys().all(|shape| known.shapes.contains(shape)) {
        if let Some(verify) = known.verify {
            verify(value).map_err(mirrored)?;
        }
        let read: T = decode(bytes).map_err(|error| unread(&written, &error))?;
        let Some(read) = looked_at(read, shapes_of) else {
            return Err(CodecError::new("the type panics when its value is written again"));
        };
        compare(&written, &read?).map_err(mirrored)?;
    }
    Known::learn(TypeId::of::<T>(), false, written.into_keys());
    Ok(())
}

/// Looks at a value of a user and drops it. `None` if that panics.
///
/// The values that it was made from are still alive: if their `drop` panics as well, while this
/// panic unwinds, the process would abort.
pub(crate) fn looked_at<T, R>(value: T, look: impl FnOnce(&T) -> R) -> Option<R> {
    let seen = catch_unwind(AssertUnwindSafe(|| look(&value)));
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(value)));
    match (seen, dropped) {
        (Ok(seen), Ok(())) => Some(seen),
        (seen, dropped) => {
            // The payloads are values of the user, too.
            std::mem::forget((seen.err(), dropped.err()));
            None
        }
    }
}

fn mirrored(reason: String) -> CodecError {
    CodecError::new(format!("the type {reason}, {WAY_OUT}"))
}

fn shapes_of<T: Serialize + ?Sized>(value: &T) -> Result<Shapes, CodecError> {
    let mut shapes = Shapes::new();
    value.serialize(&mut Guard::collecting(&mut Vec::new(), &mut shapes))?;
    Ok(shapes)
}

#[cold]
fn unread(written: &Shapes, error: &CodecError) -> CodecError {
    let names: Vec<String> = by_name(written).keys().take(5).map(full_name).collect();
    CodecError::new(format!(
        "the type does not read what it writes for `{}` ({error}): use `serde(skip)` in place of \
         `skip_serializing` or `skip_deserializing`, {WAY_OUT}",
        names.join("`, `")
    ))
}
