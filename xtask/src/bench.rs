//! `cargo xtask bench`: compares Phalanx with its peers.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::Outcome;
use crate::broker::{self, Choice};
use crate::cargo::cargo;

/// Compare Phalanx with its peers, and print a table.
///
/// The broker is chosen as for `cargo xtask test`. bench/README.md explains the figures.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    choice: Choice,
    /// Arguments for the benchmark; `--help` lists them.
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

impl Bench {
    pub(crate) fn run(self) -> Outcome {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("bench");
        let broker = broker::find(&self.choice, None)?;
        let status = cargo()
            .args(["run", "--release", "--locked", "--"])
            .args(&self.arguments)
            .current_dir(package)
            .env("PHALANX_BENCH_AMQP_URL", broker.url())
            .status()?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
