//! `cargo xtask node`: runs a broker to experiment with.

use std::process::{Command, ExitCode};
use std::thread;

use clap::Args;

use crate::Outcome;
use crate::broker::{self, Choice};

/// Run a broker until Ctrl-C, or for as long as a command runs.
///
/// The broker is chosen as for `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct Node {
    #[command(flatten)]
    choice: Choice,
    /// Port on 127.0.0.1. Default: any free port.
    #[arg(long)]
    port: Option<u16>,
    /// A command to run with PHALANX_URL set to the broker.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Node {
    pub(crate) fn run(self) -> Outcome {
        let broker = broker::find(&self.choice, self.port)?;
        if let Some((program, arguments)) = self.command.split_first() {
            let status =
                Command::new(program).args(arguments).env("PHALANX_URL", broker.url()).status()?;
            return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        println!("export PHALANX_URL={}", broker.url());
        println!("Press Ctrl-C to stop the broker.");
        loop {
            thread::park();
        }
    }
}
