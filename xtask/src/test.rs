//! `cargo xtask test`: the whole suite, with a real broker.

use std::process::{Command, ExitCode};

use clap::Args;

use crate::Outcome;
use crate::broker::{self, Choice, URL_VARIABLE};

/// Run all tests against a real broker.
///
/// The broker is the one that PHALANX_TEST_AMQP_URL names, else RabbitMQ in a container where
/// Docker answers (image tag: PHALANX_TEST_RABBITMQ_TAG), else a private node of this machine's
/// rabbitmq-server, or of the tree that PHALANX_TEST_RABBITMQ_ROOT names. It is gone afterwards.
#[derive(Debug, Args)]
pub(crate) struct Test {
    #[command(flatten)]
    choice: Choice,
    /// Arguments for `cargo test`.
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

impl Test {
    pub(crate) fn run(self) -> Outcome {
        let broker = broker::find(&self.choice, None)?;
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--all-features"]);
        if !names_packages(&self.arguments) {
            cargo.arg("--workspace");
        }
        cargo.args(&self.arguments).env(URL_VARIABLE, broker.url());
        if let Some(image) = broker.image() {
            // Tests that kill a broker make theirs of the same image.
            cargo.env(phalanx_test_node::IMAGE_VARIABLE, image);
        }
        let status = cargo.status()?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Whether the arguments say themselves what is tested.
fn names_packages(arguments: &[String]) -> bool {
    arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

#[cfg(test)]
mod tests {
    use super::names_packages;

    fn names(arguments: &[&str]) -> bool {
        names_packages(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_whole_workspace_is_tested_unless_packages_are_named() {
        assert!(!names(&[]));
        assert!(!names(&["some_test", "--no-fail-fast"]));
        assert!(names(&["-p", "phalanx-core"]));
        assert!(names(&["--package=phalanx-core", "some_test"]));
    }

    #[test]
    fn what_a_test_program_is_told_names_no_package() {
        assert!(!names(&["--", "-p"]));
    }
}
