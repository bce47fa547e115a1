//! The worker: serves every operation that is linked into it, until it is stopped.

use std::process::ExitCode;

// Rust does not link a crate that is never named.
use hello_ops as _;

#[tokio::main]
async fn main() -> ExitCode {
    phalanx::worker::main().await
}
