//! The chores of a Phalanx developer: `cargo xtask help`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks")]

mod bench;
mod broker;
mod chaos;
#[cfg(test)]
mod layers;
mod licences;
mod node;
mod test;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

/// The exit code of what a chore ran, or why it could not run it.
type Outcome = Result<ExitCode, Box<dyn Error>>;

/// The chores of a Phalanx developer.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Chore {
    Test(test::Test),
    Node(node::Node),
    Licences(licences::Licences),
    Bench(bench::Bench),
    Chaos(chaos::Chaos),
}

fn main() -> ExitCode {
    let outcome = match Chore::parse() {
        Chore::Test(test) => test.run(),
        Chore::Node(node) => node.run(),
        Chore::Licences(licences) => licences.run(),
        Chore::Bench(bench) => bench.run(),
        Chore::Chaos(chaos) => chaos.run(),
    };
    outcome.unwrap_or_else(|error| {
        eprint!("error: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            eprint!(": {error}");
            cause = error.source();
        }
        eprintln!();
        ExitCode::FAILURE
    })
}
