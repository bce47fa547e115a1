//! `cargo xtask chaos`: runs whole fleets under faults.

use std::process::ExitCode;

use clap::Args;

use crate::Outcome;
use crate::broker::{self, Consent};
use crate::cargo::cargo;

/// Run fleets under faults that a seed determines, and check the results of their jobs.
///
/// `cargo xtask chaos --seed 7 --minutes 5` makes a run that can be repeated, `--soak` runs a
/// million tasks, `--cluster` uses three nodes in containers, and `-- --help` lists all options.
/// The broker is a private node of the first of these: the directory tree that
/// PHALANX_TEST_RABBITMQ_ROOT names, the image that PHALANX_TEST_RABBITMQ_IMAGE names, or the
/// installed rabbitmq-server, which is installed first if it is missing.
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
        let mut cargo = cargo();
        cargo.args(["run", "--quiet", "--release", "--package", "phalanx-chaos", "--", "run"]);
        // The run starts its own nodes; this only makes sure that a RabbitMQ is installed.
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
    fn arguments_are_passed_on_to_the_run() {
        for line in [
            &["xtask", "--seed", "7", "--soak"][..],
            &["xtask", "--", "--seed", "7", "--soak"],
            &["xtask", "--yes", "--seed", "7", "--soak"],
        ] {
            assert_eq!(Line::parse_from(line).chaos.arguments, ["--seed", "7", "--soak"]);
        }
    }
}
