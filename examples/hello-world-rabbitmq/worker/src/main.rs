//! The worker: serves every operation that is linked into it, until it is told to stop.

use std::process::ExitCode;

// Links the operations in: a crate that is never named is not part of the program.
use hello_ops as _;

#[tokio::main]
async fn main() -> ExitCode {
    phalanx::worker::main().await
}
