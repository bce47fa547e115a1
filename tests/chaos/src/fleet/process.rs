//! Processes of this program in another role.

use std::{
    fs::{self, File},
    process::Stdio,
};

use rustix::process::{Pid, Signal};
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};

use super::Shared;
use crate::{Habits, habits};

/// Says to a worker that it ends when its standard input does.
pub(crate) const HELD: &str = "PHALANX_CHAOS_HELD";

/// This program in another role. It ends with this process: the kernel closes its standard input.
pub(super) fn command(shared: &Shared, url: &str, habits: &Habits) -> Command {
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{separator}heartbeat={}", shared.heartbeat);
    let mut command = Command::new(&shared.program);
    command
        .env("PHALANX_URL", url.replacen("amqp", "chaos", 1))
        .env("PHALANX_NAMESPACE", &shared.namespace)
        .env(habits::VARIABLE, habits.to_string())
        .env(HELD, "1")
        .stdin(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What a process says, for when something is wrong with it.
#[derive(Debug)]
pub(super) struct Said(NamedTempFile);

impl Said {
    pub(super) fn new() -> std::io::Result<(Self, File)> {
        let file = NamedTempFile::new()?;
        let handle = file.reopen()?;
        Ok((Self(file), handle))
    }

    /// The end of it.
    pub(super) fn tail(&self) -> String {
        const LINES: usize = 12;
        let text = fs::read(self.0.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

/// The process, while it runs.
pub(super) fn id(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

/// Sends a signal. Only to a process that nobody has waited for yet: its number is its own.
pub(super) fn signal(process: Option<Pid>, signal: Signal) {
    if let Some(process) = process {
        // It may have ended by itself just now.
        let _ = rustix::process::kill_process(process, signal);
    }
}
