//! `cargo xtask node`: a broker to play with.

use std::process::{Command, ExitCode};
use std::thread;

use clap::Args;

use crate::Outcome;
use crate::broker::{self, Choice};

/// Run a broker of your own until Ctrl-C, or for as long as a command runs.
///
/// It is found as `cargo xtask test` finds one.
#[derive(Debug, Args)]
pub(crate) struct Node {
    #[command(flatten)]
    choice: Choice,
    /// Where it listens on 127.0.0.1. Default: any free port.
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
        println!("Ctrl-C ends it.");
        loop {
            thread::park();
        }
    }
}
