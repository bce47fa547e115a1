use std::rc::Rc;

use phalanx::prelude::*;

#[operation]
async fn waits(n: u64) -> u64 {
    let kept = Rc::new(n);
    std::future::ready(()).await;
    *kept
}

fn main() {}
