use phalanx::prelude::*;

#[operation]
fn double(n: u64) -> u64 {
    2 * n
}

fn main() {
    let _ = IndexedStream::from(1..=3u64).map(double);
    let _ = IndexedStream::from(1..=3u64).map(|n: u64| n + 1);
    let _ = IndexedStream::from(1..=3u64).filter(Double);
    let _ = IndexedStream::from(1..=3u64).fold(Double);
}
