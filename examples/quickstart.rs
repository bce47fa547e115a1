//! The sum of the first ten Fibonacci numbers: 143.
//!
//!     cargo run --example quickstart              here, in memory
//!     cargo run --example quickstart worker       serves the broker that PHALANX_URL names

use std::process::ExitCode;

use phalanx::prelude::*;

/// The `n`-th Fibonacci number.
#[operation]
fn fib_at(n: u64) -> u64 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

#[derive(Serialize, Deserialize, RemoteExecute)]
struct Sum;

impl Monoid for Sum {
    type Elem = u64;

    fn empty(&self) -> u64 {
        0
    }

    fn combine(&self, a: u64, b: u64, _cx: &TaskContext) -> Result<u64> {
        Ok(a + b)
    }
}

async fn lead() -> Result<u64, phalanx::Error> {
    let runtime = Runtime::from_env().await?;
    let sum = IndexedStream::from(1..=10u64).map(FibAt).fold(Sum).run(&runtime).await?;
    runtime.close().await;
    Ok(sum)
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
