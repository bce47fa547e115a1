//! Commands for the development of Phalanx: `cargo xtask help`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a command line program")]

mod bench;
mod broker;
mod cargo;
mod chaos;
#[cfg(test)]
mod layers;
mod licences;
mod node;
mod test;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

/// The exit code of the program that a command ran, or why the command could not run it.
type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Commands for the development of Phalanx.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Xtask {
    Test(test::Test),
    Node(node::Node),
    Licences(licences::Licences),
    Bench(bench::Bench),
    Chaos(chaos::Chaos),
}

fn main() -> ExitCode {
    let outcome = match Xtask::parse() {
        Xtask::Test(test) => test.run(),
        Xtask::Node(node) => node.run(),
        Xtask::Licences(licences) => licences.run(),
        Xtask::Bench(bench) => bench.run(),
        Xtask::Chaos(chaos) => chaos.run(),
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
