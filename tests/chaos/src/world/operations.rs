//! The operations of the jobs.

use std::time::Duration;

use phalanx::prelude::*;

use crate::{Point, incident};

/// Takes the time of one element. A worker may die here.
fn work(nap: Duration) {
    incident::reach(Point::Running);
    if !nap.is_zero() {
        std::thread::sleep(nap);
    }
}

/// Multiplies by three.
#[operation]
pub(crate) fn triple(#[state] nap: Duration, n: u64) -> u64 {
    work(nap);
    3 * n
}

/// The same, asynchronously.
#[operation]
pub(crate) async fn triple_later(#[state] nap: Duration, n: u64) -> u64 {
    work(Duration::ZERO);
    tokio::time::sleep(nap).await;
    3 * n
}

/// Zero to three numbers for each number.
#[operation]
pub(crate) fn spread(#[state] nap: Duration, n: u64) -> Vec<u64> {
    work(nap);
    spread_out(n).collect()
}

pub(super) fn spread_out(n: u64) -> impl Iterator<Item = u64> {
    (0..n % 4).map(move |copy| 10 * n + copy)
}

/// Whether the number is odd.
#[operation]
pub(crate) fn is_odd(n: &u64) -> bool {
    !n.is_multiple_of(2)
}

/// Adds one, in another pool.
#[operation(pool = "other")]
pub(crate) fn add_elsewhere(n: u64) -> u64 {
    n + 1
}

/// A word for each number.
#[operation]
pub(crate) fn word(#[state] nap: Duration, n: u64) -> String {
    work(nap);
    format!("{n},")
}

/// Concatenates words, so that their order shows in the value.
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

/// Two rows of two numbers, modulo [`MODULUS`].
pub(crate) type Matrix = [u64; 4];

/// Small enough that a product of two numbers below it fits.
pub(super) const MODULUS: u64 = 1_000_000_007;

/// A matrix for each number; no two of them commute.
#[operation]
pub(crate) fn turn(#[state] nap: Duration, n: u64) -> Matrix {
    work(nap);
    matrix(n)
}

pub(super) fn matrix(n: u64) -> Matrix {
    [n % MODULUS, 1, n + 2, 3]
}

pub(super) fn product(a: Matrix, b: Matrix) -> Matrix {
    let entry = |row: usize, column: usize| {
        (a[2 * row] * b[column] % MODULUS + a[2 * row + 1] * b[2 + column] % MODULUS) % MODULUS
    };
    [entry(0, 0), entry(0, 1), entry(1, 0), entry(1, 1)]
}

/// Multiplies matrices.
#[derive(Serialize, Deserialize, RemoteExecute)]
pub(crate) struct Multiply;

impl Monoid for Multiply {
    type Elem = Matrix;

    fn empty(&self) -> Matrix {
        [1, 0, 0, 1]
    }

    fn combine(&self, a: Matrix, b: Matrix, _cx: &TaskContext) -> Result<Matrix> {
        Ok(product(a, b))
    }
}

/// A fraction for each number.
#[operation]
pub(crate) fn invert(#[state] nap: Duration, n: u64) -> f64 {
    work(nap);
    1.0 / (n as f64 + 1.0)
}

/// Adds fractions with rounding errors, so that the grouping shows in the value.
#[derive(Serialize, Deserialize, RemoteExecute)]
pub(crate) struct AddUp;

impl Monoid for AddUp {
    type Elem = f64;

    fn empty(&self) -> f64 {
        0.0
    }

    fn combine(&self, a: f64, b: f64, _cx: &TaskContext) -> Result<f64> {
        Ok(a + b)
    }
}

/// The key of a number; that of the largest is larger than most.
pub(super) fn key(n: u64) -> u64 {
    n % 41
}

/// A word with the key of its number.
#[operation]
pub(crate) fn keyed_word(#[state] nap: Duration, n: u64) -> (u64, String) {
    work(nap);
    (key(n), format!("{n},"))
}

/// A number with its key.
#[operation]
pub(crate) fn keyed_number(#[state] nap: Duration, n: u64) -> (u64, u64) {
    work(nap);
    (key(n), n)
}

/// A long text that repeats its number, with the key of the number.
#[operation]
pub(crate) fn keyed_text(#[state] nap: Duration, n: u64) -> (u64, String) {
    work(nap);
    (key(n), text(n))
}

/// A number, so often that the outputs of a partition do not fit into a result.
fn text(n: u64) -> String {
    format!("{n},").repeat(16_000)
}

/// The texts of a group.
#[operation]
pub(crate) fn texts((_, texts): (u64, Vec<String>)) -> Vec<String> {
    work(Duration::ZERO);
    texts
}

/// The number that a text repeats; none that is expected if it is damaged.
pub(super) fn number_of(found: &str) -> u64 {
    let number = found.split(',').next().and_then(|number| number.parse().ok());
    number.filter(|n| found == text(*n)).unwrap_or(u64::MAX)
}

/// One, with another key in each run.
#[operation]
pub(crate) fn fickle_key(#[state] nap: Duration, _n: u64) -> (u64, u64) {
    work(nap);
    (fastrand::u64(..50), 1)
}

/// Adds up.
#[operation]
pub(crate) fn plus(a: u64, b: u64) -> u64 {
    a + b
}

/// Adds a number, and the square of its key.
#[operation]
pub(crate) fn plus_square((n, square): (u64, u64)) -> u64 {
    n + square
}

/// A number for a key and its words, in their order.
#[operation]
pub(crate) fn digest(#[state] nap: Duration, group: (u64, String)) -> u64 {
    work(nap);
    digest_of(group)
}

pub(super) fn digest_of((key, words): (u64, String)) -> u64 {
    words.bytes().fold(key, |digest, byte| digest.wrapping_mul(31).wrapping_add(byte.into()))
}
