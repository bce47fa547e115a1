//! A worker of another build: it lacks most operations of the tests, and one of its operations has
//! another input type.

use std::{io::Read, process::ExitCode, thread};

use phalanx::prelude::*;

/// An earlier release of `phalanx_fleet_tests::weigh`.
#[operation(name = "fleet.weigh")]
fn weigh(grams: u32) -> u64 {
    u64::from(grams)
}

#[tokio::main]
async fn main() -> ExitCode {
    // As `end_with_the_test`, whose crate this program must not link.
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    phalanx::worker::main().await
}
