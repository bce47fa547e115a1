//! Prints the sum of the first ten Fibonacci numbers: 143.
//!
//!     cargo run --example quickstart              runs on PHALANX_URL (default: in memory)
//!     cargo run --example quickstart worker       serves the broker of PHALANX_URL

use std::process::ExitCode;

use phalanx::prelude::*;

/// The `n`-th Fibonacci number.
#[operation]
fn fib_at(n: u64) -> u64 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

#[operation]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

async fn lead() -> Result<u64, phalanx::Error> {
    let runtime = Runtime::from_env().await?;
    let sum = IndexedStream::from(1..=10).map(FibAt).reduce(Add).run(&runtime).await?;
    runtime.close().await;
    // `None` stands for an empty input.
    Ok(sum.unwrap_or(0))
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return phalanx::worker::main().await;
    }
    match lead().await {
        Ok(sum) => {
            println!("{sum}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
