//! The Docker client.

use std::process::{Command, Stdio};

use crate::NodeError;

/// The label of every container and network that tests create, which identifies leftovers.
pub(crate) const LABEL: &str = "phalanx.test";

/// The Docker client with these arguments.
pub(crate) fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command, which must exit with code 0.
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
