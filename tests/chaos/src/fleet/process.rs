//! Child processes that run this program as a leader or a worker.

use std::{
    fs::{self, File},
    process::Stdio,
};

use rustix::process::{Pid, Signal};
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};

use super::Shared;
use crate::{ProcessFaults, process_faults};

/// The environment variable that makes a worker end when its standard input ends.
pub(crate) const ENDS_WITH_STDIN: &str = "PHALANX_CHAOS_ENDS_WITH_STDIN";

/// This program, to be run as a leader or a worker. The child ends when this process does, because
/// the kernel then closes its standard input.
pub(super) fn command(shared: &Shared, url: &str, faults: &ProcessFaults) -> Command {
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{separator}heartbeat={}", shared.heartbeat);
    let mut command = Command::new(&shared.program);
    command
        .env("PHALANX_URL", url.replacen("amqp", "chaos", 1))
        .env("PHALANX_NAMESPACE", &shared.namespace)
        .env(process_faults::VARIABLE, faults.to_string())
        .env(ENDS_WITH_STDIN, "1")
        .stdin(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The standard error of a process, kept for the report of a problem.
#[derive(Debug)]
pub(super) struct Stderr(NamedTempFile);

impl Stderr {
    /// The file, and a handle to it for the process.
    pub(super) fn new() -> std::io::Result<(Self, File)> {
        let file = NamedTempFile::new()?;
        let handle = file.reopen()?;
        Ok((Self(file), handle))
    }

    /// The last 12 lines.
    pub(super) fn tail(&self) -> String {
        const LINES: usize = 12;
        let text = fs::read(self.0.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

/// The process id, while the process is running.
pub(super) fn id(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

/// Sends a signal to a process that has not been waited for: until then its id is not reused.
pub(super) fn signal(process: Option<Pid>, signal: Signal) {
    if let Some(process) = process {
        // The process may have ended by itself just before.
        let _ = rustix::process::kill_process(process, signal);
    }
}
