use phalanx::prelude::*;

#[operation]
fn double(n: u64) -> u64 {
    2 * n
}

#[operation]
fn is_even(n: &u64) -> bool {
    n % 2 == 0
}

#[operation]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

fn main() {
    let _ = IndexedStream::from(1..=3u64).map(Double);
    let _ = IndexedStream::from(1..=3u64).filter(IsEven);
    let _ = IndexedStream::from(1..=3u64).reduce(Add);
}
