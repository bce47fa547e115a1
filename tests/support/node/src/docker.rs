//! The Docker client.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::NodeError;

/// How long a busy machine gets to suspend all processes of a container.
const PAUSE_LIMIT: Duration = Duration::from_secs(60);

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

/// Suspends all processes of a container.
///
/// The engine fails, and resumes those it has suspended, if one of them does not stop within
/// a fraction of a second, which happens on a busy machine.
pub(crate) fn pause(container: &str) -> Result<(), NodeError> {
    let began = Instant::now();
    loop {
        match run(&mut docker(&["pause", container])) {
            Err(NodeError::Ended { console })
                if console.contains("unable to freeze") && began.elapsed() < PAUSE_LIMIT =>
            {
                thread::sleep(Duration::from_millis(200));
            }
            ended => return ended,
        }
    }
}
