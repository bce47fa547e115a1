//! The program of `cargo xtask chaos`, which is also the leader and the workers of its fleets.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    phalanx_chaos::main().await
}
