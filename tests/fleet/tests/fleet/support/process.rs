//! A worker or a leader in a separate process.

use std::process::{ExitStatus, Stdio};

use phalanx_test_support::soon;
use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, Command},
};

/// The worker that is built like this program.
pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_fleet-worker");

/// The worker of another build: it lacks most operations.
pub(crate) const OLDER_WORKER: &str = env!("CARGO_BIN_EXE_older-worker");

/// The worker that has two operations of the same name.
pub(crate) const AMBIGUOUS_WORKER: &str = env!("CARGO_BIN_EXE_ambiguous-worker");

/// A child process that is killed when this is dropped, and that ends when the test process does.
pub(crate) struct Process {
    child: Child,
    /// The process ends when its standard input ends. Taken out of `child`, because waiting for a
    /// child closes the pipe that it still owns.
    _stdin: Option<ChildStdin>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command, url: &str) -> Self {
        command.env("PHALANX_URL", url).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let stdin = child.stdin.take();
        Self { child, _stdin: stdin, stderr }
    }

    /// The next line on standard error; `None` after the process has ended.
    pub(crate) async fn line(&mut self) -> Option<String> {
        soon("a line of the worker", self.stderr.next_line()).await.unwrap()
    }

    /// Waits for the line that the worker prints when it starts to serve, and returns it.
    pub(crate) async fn started(&mut self) -> String {
        loop {
            let line = self.line().await.expect("the worker starts");
            if line.contains(" operations ") {
                return line;
            }
        }
    }

    /// Waits for a line that contains `text`, and returns it.
    pub(crate) async fn printed(&mut self, text: &str) -> String {
        loop {
            let line = self.line().await.expect("the worker is running");
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> String {
        self.child.id().expect("the process is running").to_string()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).unwrap()));
        if let Some(id) = id {
            // The process may have ended by itself just before.
            let _ = rustix::process::kill_process(id, signal);
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end of the process.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        soon("the worker to end", self.child.wait()).await.unwrap()
    }

    /// Waits for the end of the process: its exit code, and the rest of its standard error.
    pub(crate) async fn exit(&mut self) -> (i32, String) {
        let status = self.ended().await;
        let mut stderr = String::new();
        while let Some(line) = self.line().await {
            stderr += &line;
            stderr.push('\n');
        }
        (status.code().expect("no signal ended the process"), stderr)
    }

    /// Waits for the end of the process, which must be a clean one.
    pub(crate) async fn exited_cleanly(&mut self) {
        let (code, stderr) = self.exit().await;
        assert_eq!(code, 0, "{stderr}");
    }
}
