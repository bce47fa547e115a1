use phalanx::prelude::*;

#[derive(Serialize, Deserialize)]
struct Score(u64);

#[operation]
fn rate(n: u64) -> Score {
    Score(n)
}

#[operation]
fn half(n: &u64) -> f64 {
    *n as f64 / 2.0
}

fn main() {
    let _ = IndexedStream::from(1..=3u64).map(Rate).top(2);
    let _ = IndexedStream::from(1..=3u64).top_by_key(2, Half);
}
