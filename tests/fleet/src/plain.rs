//! Operations that succeed.

use phalanx::prelude::*;

/// Multiplies by three.
#[operation]
pub fn triple(n: u64) -> u64 {
    3 * n
}

/// Multiplies by three, asynchronously.
#[operation]
pub async fn triple_later(n: u64) -> u64 {
    tokio::task::yield_now().await;
    3 * n
}

/// Whether the number is odd.
#[operation]
pub fn is_odd(n: &u64) -> bool {
    !n.is_multiple_of(2)
}

/// Zero to three numbers for each number.
#[operation]
pub fn spread(n: u64) -> Vec<u64> {
    (0..n % 4).map(|copy| 10 * n + copy).collect()
}

/// Adds one, in another pool.
#[operation(pool = "other")]
pub fn add_elsewhere(n: u64) -> u64 {
    n + 1
}

/// Adds numbers up, in another pool.
#[operation(pool = "other")]
pub fn total_elsewhere(numbers: &[u64]) -> u64 {
    numbers.iter().sum()
}

/// The number, with a key.
#[operation]
pub fn keyed(n: u64) -> (u64, u64) {
    (n % 13, n)
}

/// One number for a small key and its count.
#[operation]
pub fn packed((key, count): (u64, u64)) -> u64 {
    100 * count + key
}

/// A word for each number.
#[operation]
pub fn word(n: u64) -> String {
    format!("{n},")
}

/// Multiplies by three, and takes this long.
#[operation]
pub fn dawdle(#[state] micros: u64, n: u64) -> u64 {
    let until = std::time::Instant::now() + std::time::Duration::from_micros(micros);
    while std::time::Instant::now() < until {
        std::hint::spin_loop();
    }
    3 * n
}

/// Multiplies by three, and waits this long.
#[operation]
pub async fn dawdle_later(#[state] micros: u64, n: u64) -> u64 {
    tokio::time::sleep(std::time::Duration::from_micros(micros)).await;
    3 * n
}

/// Returns a weight. The input of the older worker's version is a `u32`.
#[operation(name = "fleet.weigh")]
pub fn weigh(grams: u64) -> u64 {
    grams
}

/// The sum of two numbers.
#[operation]
pub fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// Sums.
#[derive(Serialize, Deserialize, RemoteExecute)]
pub struct Sum;

impl Monoid for Sum {
    type Elem = u64;

    fn empty(&self) -> u64 {
        0
    }

    fn combine(&self, a: u64, b: u64, _cx: &TaskContext) -> Result<u64> {
        Ok(a + b)
    }
}

/// Concatenates words, so that their order shows in the value.
#[derive(Serialize, Deserialize, RemoteExecute)]
pub struct Concatenate;

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

/// Each number three times.
#[operation]
pub fn thrice(n: u64) -> Vec<u64> {
    vec![n; 3]
}

/// The numbers by which an operation identifies its element.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// The stage of the plan, from 0.
    pub stage: u32,
    /// The index of the element in the source, from 0.
    pub index: u64,
    /// The position of the element in the input of its stage, from 0.
    pub position: u64,
}

/// Returns the numbers of its element.
#[operation]
pub fn locate(_n: u64, cx: &TaskContext) -> Located {
    Located { stage: cx.stage(), index: cx.index(), position: cx.position() }
}

/// Fails at one position of its stage, with the numbers of that element.
#[operation]
pub fn fail_at_position(#[state] unwanted: u64, n: u64, cx: &TaskContext) -> Result<u64> {
    if cx.position() == unwanted {
        let (index, position) = (cx.index(), cx.position());
        return Err(OperationError::fatal(format!("index {index}, position {position}")));
    }
    Ok(n)
}
