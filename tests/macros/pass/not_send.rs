use std::sync::Arc;

use phalanx::prelude::*;

#[operation]
async fn waits(n: u64) -> u64 {
    let kept = Arc::new(n);
    std::future::ready(()).await;
    *kept
}

fn main() {}
