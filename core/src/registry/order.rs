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
    next_from: fn(&Guarded, usize, usize) -> Option<usize>,
}

impl TypeOrder {
    pub(super) const fn of<K: Data + Ord>() -> Self {
        Self { decoder: Decoder::of::<K>(), compare: compare::<K>, next_from: next_from::<K> }
    }
}

/// Compares two values of a column.
fn compare<K: Data + Ord>(values: &Guarded, a: usize, b: usize) -> Ordering {
    let value = |number: usize| values.vec::<K>().and_then(|values| values.get(number));
    value(a).cmp(&value(b))
}

/// The number of the next value, from number `next` on, that is not less than that of number
/// `least`.
fn next_from<K: Data + Ord>(values: &Guarded, next: usize, least: usize) -> Option<usize> {
    let values = values.vec::<K>()?;
    let least = values.get(least)?;
    let after = values.get(next..)?.iter().position(|value| value >= least)?;
    Some(next + after)
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
        let mut numbers = caught(|| self.select(&keys, bytes, most)).ok()?;
        numbers.sort_unstable();
        Some(numbers)
    }

    fn select(&self, keys: &Guarded, bytes: &[&[u8]], most: usize) -> Vec<usize> {
        let TypeOrder { compare, next_from, .. } = self.keys;
        let rank = |a: &usize, b: &usize| rank(compare(keys, *a, *b), bytes[*a], bytes[*b]);
        let mut numbers: Vec<usize> = (0..bytes.len().min(most)).collect();
        let mut next = numbers.len();
        let Some(last) = next.checked_sub(1) else { return numbers };
        // Most random values are less than the least of the largest so far, and are skipped. The
        // others are selected in groups of `most`, which is linear for any order of the values.
        while next < bytes.len() {
            numbers.select_nth_unstable_by(last, rank);
            let least = numbers[last];
            while numbers.len() < 2 * most {
                let Some(number) = next_from(keys, next, least) else {
                    next = bytes.len();
                    break;
                };
                numbers.push(number);
                next = number + 1;
            }
            numbers.select_nth_unstable_by(last, rank);
            numbers.truncate(most);
        }
        numbers
    }
}
