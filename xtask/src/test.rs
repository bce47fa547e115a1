//! `cargo xtask test`: runs all tests against a real broker.

use std::process::ExitCode;

use clap::Args;

use crate::Outcome;
use crate::broker::{self, Choice, URL_VARIABLE};
use crate::cargo::cargo;

/// Run all tests against a real broker.
///
/// The broker is the one that PHALANX_TEST_AMQP_URL names. If it is not set, RabbitMQ runs in a
/// container, provided that Docker responds and has the image or can pull it
/// (PHALANX_TEST_RABBITMQ_TAG sets the tag). Otherwise a private node of the installed
/// rabbitmq-server runs, which is installed first if it is missing (PHALANX_TEST_RABBITMQ_ROOT
/// names a directory tree with another one). The broker is stopped afterwards.
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
        let mut cargo = cargo();
        cargo.args(["test", "--all-features"]);
        if !names_packages(&self.arguments) {
            cargo.arg("--workspace");
        }
        cargo.args(&self.arguments).env(URL_VARIABLE, broker.url());
        if let Some(image) = broker.image() {
            // Tests that kill a broker start a private one from the same image.
            cargo.env(phalanx_test_node::IMAGE_VARIABLE, image);
        }
        let status = cargo.status()?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Whether the arguments name the packages to test.
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
    fn arguments_of_the_test_programs_name_no_package() {
        assert!(!names(&["--", "-p"]));
    }
}
