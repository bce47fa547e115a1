//! `cargo xtask chaos`, and each process of the fleets that it makes.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    phalanx_chaos::main().await
}
