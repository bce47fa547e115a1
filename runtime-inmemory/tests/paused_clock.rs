//! Programs in tests of users whose clock is paused: it jumps whenever Tokio has nothing to do.

use std::time::Duration;

use phalanx_core::{leader::Runtime, operation, plan::IndexedStream};
use phalanx_inmemory as _;

/// Computes for a moment, in which a clock that jumps would pass every timeout.
#[operation(crate = phalanx_core)]
fn compute(n: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(100));
    n + 1
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_stands_still_while_a_blocking_operation_computes() {
    let runtime = Runtime::connect("memory://").await.unwrap();
    let began = tokio::time::Instant::now();
    let program = IndexedStream::from(0..4u64).map(Compute).timeout(Duration::from_secs(20));
    assert_eq!(program.collect(&runtime).await.unwrap(), [1, 2, 3, 4]);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    runtime.close().await;
}

#[tokio::test(start_paused = true)]
async fn patience_does_not_end_while_a_blocking_operation_computes_on_a_paused_clock() {
    let patient = Runtime::builder().url("memory://").patience(Duration::from_secs(2));
    let runtime = patient.connect().await.unwrap();
    let program = IndexedStream::from(0..4u64).map(Compute);
    assert_eq!(program.collect(&runtime).await.unwrap(), [1, 2, 3, 4]);
    runtime.close().await;
}
