//! Time limits: a test that hangs fails.

use std::{future::Future, time::Duration};

/// How long a test waits for a condition before it fails.
///
/// A test of a promised speed has its own bound. This one only ends tests that hang, so it is far
/// longer than any condition takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often [`until`] checks its condition.
const POLL: Duration = Duration::from_millis(10);

/// Waits for a future, for at most [`PATIENCE`].
///
/// # Panics
/// If the future takes longer; the message contains `what`.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Checks a condition every 10 ms until it holds, for at most [`PATIENCE`].
///
/// # Panics
/// If the condition does not hold in time; the message contains `what`.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(POLL).await;
        }
    };
    soon(what, holds).await;
}
