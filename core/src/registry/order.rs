//! The order of the outputs of an operation, with their type erased.
//!
//! Decoding and comparing are compiled once for each type; everything around them once for all.

use std::cmp::Ordering;

use super::{execution::caught, largest::rank, type_codec::Decoder, values::Guarded};
use crate::operation::Data;

/// How values of a type are compared: by its `Ord`.
#[derive(Debug, Clone, Copy)]
pub struct TypeOrder {
    decoder: Decoder,
    compare: fn(&Guarded, usize, usize) -> Ordering,
}

impl TypeOrder {
    pub(super) const fn of<K: Data + Ord>() -> Self {
        Self { decoder: Decoder::of::<K>(), compare: compare::<K> }
    }
}

/// Compares two values of a column.
fn compare<K: Data + Ord>(values: &Guarded, a: usize, b: usize) -> Ordering {
    let value = |number: usize| values.vec::<K>().and_then(|values| values.get(number));
    value(a).cmp(&value(b))
}

/// The order of the encoded outputs of a step, in which `top` and `top_by_key` compare them. From
/// [`CompiledStep::order`](super::CompiledStep::order).
#[derive(Debug, Clone, Copy)]
pub struct Order {
    keys: TypeOrder,
    by_key: bool,
}

impl Order {
    /// Compares outputs as values of a type; if `by_key`, pairs by their keys of that type, and
    /// pairs of equal keys by the bytes of their values.
    pub(super) fn new(keys: TypeOrder, by_key: bool) -> Self {
        Self { keys, by_key }
    }

    /// The numbers of the `most` largest of these outputs, ascending. `None` if they cannot be
    /// compared: one does not decode, or the code of the user panics.
    pub fn largest(&self, outputs: &[&[u8]], most: usize) -> Option<Vec<usize>> {
        let mut values = outputs.to_vec();
        let keys = self.keys.decoder.decode_each(&mut values)?;
        let bytes = if self.by_key { &values } else { outputs };
        let mut numbers: Vec<usize> = (0..outputs.len()).collect();
        if most < numbers.len() {
            let mut compare = |a: &usize, b: &usize| {
                rank((self.keys.compare)(&keys, *a, *b), bytes[*a], bytes[*b])
            };
            caught(|| {
                numbers.select_nth_unstable_by(most, &mut compare);
            })
            .ok()?;
            numbers.truncate(most);
            numbers.sort_unstable();
        }
        Some(numbers)
    }
}
