//! The operations of the programs. Each is a pure function, so that plain iterators give the
//! expected results.

use phalanx::prelude::*;
use serde::{Deserialize, Serialize};

/// Scatters neighbouring numbers, so that no result is correct by coincidence.
pub(crate) fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n ^ (n >> 29)
}

#[operation]
pub(crate) fn add(#[state] amount: u64, n: u64) -> u64 {
    mix(n.wrapping_add(amount))
}

#[operation]
pub(crate) async fn add_later(#[state] amount: u64, n: u64) -> u64 {
    // Other elements run in between, on this worker and on others.
    tokio::task::yield_now().await;
    add(amount, n)
}

#[operation]
pub(crate) fn keep(#[state] one_in: u64, n: &u64) -> bool {
    !mix(*n).is_multiple_of(one_in)
}

#[operation]
pub(crate) fn spread(#[state] most: u64, n: u64) -> Vec<u64> {
    (0..mix(n) % (most + 1)).map(|copy| mix(n ^ copy)).collect()
}

/// Fails transiently for some elements, on their first try.
#[operation]
pub(crate) fn stumble(#[state] one_in: u64, n: u64, cx: &TaskContext) -> Result<u64> {
    if cx.tries() == 1 && mix(n).is_multiple_of(one_in) {
        return Err(OperationError::fatal("stumbled").transient());
    }
    Ok(add(1, n))
}

/// Fails permanently for some elements, by an error or by a panic.
#[operation]
pub(crate) fn refuse(#[state] one_in: u64, n: u64) -> Result<u64> {
    match refused(one_in, n) {
        None => Ok(n),
        Some(false) => Err(OperationError::fatal(format!("refused {n}"))),
        Some(true) => panic!("refused {n}"),
    }
}

/// Whether [`refuse`] fails for `n`: `Some(true)` by a panic, `Some(false)` by an error.
pub(crate) fn refused(one_in: u64, n: u64) -> Option<bool> {
    mix(n).is_multiple_of(one_in).then(|| mix(n ^ 1).is_multiple_of(2))
}

/// Turns the values of a `try_map` back into numbers.
#[operation]
pub(crate) fn settle(outcome: Result<u64, phalanx::Failure>) -> u64 {
    settled(outcome.ok())
}

pub(crate) fn settled(outcome: Option<u64>) -> u64 {
    outcome.map_or(1, mix)
}

/// The affine map n → factor · n + offset: composing them is associative and not commutative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Affine {
    factor: u64,
    offset: u64,
}

impl Affine {
    pub(crate) const IDENTITY: Self = Self { factor: 1, offset: 0 };

    pub(crate) fn then(self, next: Self) -> Self {
        Self {
            factor: next.factor.wrapping_mul(self.factor),
            offset: next.factor.wrapping_mul(self.offset).wrapping_add(next.offset),
        }
    }
}

#[operation(type = "AffineMap")]
pub(crate) fn affine(n: u64) -> Affine {
    Affine { factor: mix(n) | 1, offset: mix(n ^ 2) }
}

#[derive(Serialize, Deserialize, RemoteExecute)]
pub(crate) struct Compose;

impl Monoid for Compose {
    type Elem = Affine;

    fn empty(&self) -> Affine {
        Affine::IDENTITY
    }

    fn combine(&self, a: Affine, b: Affine, _cx: &TaskContext) -> Result<Affine> {
        Ok(a.then(b))
    }
}

/// A word for each number: concatenations grow, unlike the values of [`Compose`].
#[operation]
pub(crate) fn word(n: u64) -> String {
    format!("{:x} ", n % 4_096)
}

#[derive(Serialize, Deserialize, RemoteExecute)]
pub(crate) struct Concatenate;

impl Monoid for Concatenate {
    type Elem = String;

    fn empty(&self) -> String {
        String::new()
    }

    fn combine(&self, mut a: String, b: String, _cx: &TaskContext) -> Result<String> {
        a.push_str(&b);
        Ok(a)
    }
}

/// Returns its left operand: associative, not commutative, and without an identity.
#[operation]
pub(crate) fn leftmost(a: u64, b: u64) -> u64 {
    let _ = b;
    a
}

/// Adds, which commutes: the order of the outputs of an exchange is not defined.
#[operation]
pub(crate) fn sum(a: u64, b: u64) -> u64 {
    a.wrapping_add(b)
}

/// One of few numbers, the first of which is frequent.
#[operation]
pub(crate) fn narrow(#[state] most: u64, n: u64) -> u64 {
    let n = mix(n) % most;
    if n.is_multiple_of(3) { 0 } else { n }
}

#[operation]
pub(crate) fn keyed(#[state] most: u64, n: u64) -> (u64, u64) {
    (narrow(most, n), n)
}

#[operation]
pub(crate) fn keyed_affine(#[state] most: u64, n: u64) -> (u64, Affine) {
    (narrow(most, n), affine(n))
}

/// A number for a key and its value.
#[operation]
pub(crate) fn digest((key, value): (u64, u64)) -> u64 {
    mix(key).wrapping_mul(31).wrapping_add(mix(value))
}

#[operation]
pub(crate) fn digest_affine((key, value): (u64, Affine)) -> u64 {
    digest((digest((key, value.factor)), value.offset))
}

/// A number for a key and its values, in their order.
#[operation]
pub(crate) fn digest_group((key, values): (u64, Vec<u64>)) -> u64 {
    values.into_iter().fold(key, |digest_so_far, value| digest((digest_so_far, value)))
}

/// A number for a row of a join.
#[operation]
pub(crate) fn digest_row((key, (one, other)): (u64, (u64, u64))) -> u64 {
    digest((digest((key, one)), other))
}

/// As [`digest_row`], where a side may lack the key.
#[operation]
pub(crate) fn digest_left((key, (one, other)): (u64, (u64, Option<u64>))) -> u64 {
    digest_row((key, (one, present(other))))
}

#[operation]
pub(crate) fn digest_full((key, (one, other)): (u64, (Option<u64>, Option<u64>))) -> u64 {
    digest_row((key, (present(one), present(other))))
}

/// A number for the values of both sides, in whatever order.
#[operation]
pub(crate) fn digest_sides((key, (ones, others)): (u64, (Vec<u64>, Vec<u64>))) -> u64 {
    digest_row((key, (total(&ones), total(&others))))
}

fn present(value: Option<u64>) -> u64 {
    value.map_or(7, |n| mix(n ^ 3))
}

fn total(values: &[u64]) -> u64 {
    values.iter().fold(values.len() as u64, |sum, n| sum.wrapping_add(mix(*n)))
}
