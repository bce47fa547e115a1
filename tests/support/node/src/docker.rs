//! Docker's client.

use std::process::{Command, Stdio};

use crate::NodeError;

/// What everything that tests make with Docker is labelled with, so that leftovers are found.
pub(crate) const LABEL: &str = "phalanx.test";

/// The client with these arguments.
pub(crate) fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end, which must be a good one.
pub(crate) fn run(command: &mut Command) -> Result<(), NodeError> {
    let output = command.output().map_err(NodeError::io("run docker"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let console = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(NodeError::Ended { console })
        }
    }
}
