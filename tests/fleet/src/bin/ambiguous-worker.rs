//! A worker that should not have been built: two of its operations have one name.

use std::process::ExitCode;

use phalanx::prelude::*;

/// One of them.
#[operation(name = "fleet.twin")]
fn castor(n: u64) -> u64 {
    n
}

/// The other.
#[operation(name = "fleet.twin")]
fn pollux(n: u64) -> u64 {
    n + 1
}

#[tokio::main]
async fn main() -> ExitCode {
    phalanx::worker::main().await
}
