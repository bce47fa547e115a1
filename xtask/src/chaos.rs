//! `cargo xtask chaos`: whole fleets under faults.

use std::process::{Command, ExitCode};

use clap::Args;

use crate::Outcome;
use crate::broker::{self, Consent};

/// Break fleets as a seed says, and compare the answers of their jobs.
///
/// `cargo xtask chaos --seed 7 --minutes 5` for a run that can be repeated, `--soak` for a million
/// tasks, `--cluster` for three nodes in containers, `-- --help` for all there is. The broker is a private node: of the tree that
/// PHALANX_TEST_RABBITMQ_ROOT names, else of the image that PHALANX_TEST_RABBITMQ_IMAGE names, else
/// of this machine's rabbitmq-server, which is installed if need be.
#[derive(Debug, Args)]
pub(crate) struct Chaos {
    #[command(flatten)]
    consent: Consent,
    /// Arguments for the run.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

impl Chaos {
    pub(crate) fn run(self) -> Outcome {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["run", "--quiet", "--release", "--package", "phalanx-chaos", "--", "run"]);
        // It finds the broker itself; here it is made sure that there is one.
        broker::installation(self.consent)?;
        let status = cargo.args(&self.arguments).status()?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        chaos: Chaos,
    }

    #[test]
    fn what_stands_behind_it_goes_to_the_run() {
        for line in
            [&["xtask", "--seed", "7", "--soak"][..], &["xtask", "--", "--seed", "7", "--soak"]]
        {
            assert_eq!(Line::parse_from(line).chaos.arguments, ["--seed", "7", "--soak"]);
        }
    }
}
