//! A worker that is built like the leader of the tests.

use std::process::ExitCode;

use phalanx_fixture_ops_a as _;
use phalanx_fixture_ops_b as _;
use phalanx_fleet_tests as _;

#[tokio::main]
async fn main() -> ExitCode {
    phalanx_fleet_tests::end_with_the_test();
    // A start-up that a child process cannot repeat, like binding a port.
    if let Ok(path) = std::env::var("FLEET_ONCE") {
        std::fs::File::create_new(path).expect("the first process");
    }
    phalanx::worker::main().await
}
