//! A worker with two operations of the same name, which must refuse to start.

use std::process::ExitCode;

use phalanx::prelude::*;

/// One of the two.
#[operation(name = "fleet.twin")]
fn castor(n: u64) -> u64 {
    n
}

/// The other one.
#[operation(name = "fleet.twin")]
fn pollux(n: u64) -> u64 {
    n + 1
}

#[tokio::main]
async fn main() -> ExitCode {
    phalanx::worker::main().await
}
