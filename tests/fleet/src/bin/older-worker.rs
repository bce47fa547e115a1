//! A worker of another build: it lacks most operations of the tests, and has one whose input is
//! another.

use std::{io::Read, process::ExitCode, thread};

use phalanx::prelude::*;

/// `phalanx_fleet_tests::weigh`, some releases ago.
#[operation(name = "fleet.weigh")]
fn weigh(grams: u32) -> u64 {
    u64::from(grams)
}

#[tokio::main]
async fn main() -> ExitCode {
    // What `end_with_the_test` does: the crate of that function is what this program must not link.
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    phalanx::worker::main().await
}
