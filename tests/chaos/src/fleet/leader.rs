//! The leader of a fleet, as a process.

use std::{
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use phalanx_test_proxy::Proxy;
use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::ChildStdin,
    sync::watch,
};

use super::{Shared, process};
use crate::{FaultTarget, ProcessFaults};

/// The leader of a fleet, as a process.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) proxy: Proxy,
    process: Option<Pid>,
    /// The leader ends after its current round of jobs when this is closed.
    stdin: Mutex<Option<ChildStdin>>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Leader {
    pub(super) fn start(
        shared: &Arc<Shared>,
        proxy: Proxy,
        arguments: Vec<String>,
    ) -> std::io::Result<Self> {
        let incidents = shared.leader_incidents.clone();
        let faults = ProcessFaults { incidents, ..shared.faults.clone() };
        let mut command = process::command(shared, &proxy.url(), &faults);
        let (stderr, file) = process::Stderr::new()?;
        command.arg("lead").args(arguments).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn()?;
        let (id, stdin) = (process::id(&child), Mutex::new(child.stdin.take()));
        let lines = child.stdout.take().map(|output| BufReader::new(output).lines());
        let (end, ended) = watch::channel(None);
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            if let Some(mut lines) = lines {
                while let Ok(Some(line)) = lines.next_line().await {
                    if !shared.read_incident(FaultTarget::Leader, &line) {
                        shared.report.read(&line);
                    }
                }
            }
            let status = child.wait().await.unwrap_or_default();
            if !status.success() {
                shared.report.problem(format!("the leader ended: {status}\n{}", stderr.tail()));
            }
            end.send_replace(Some(status));
        });
        Ok(Self { proxy, process: id, stdin, ended })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if !self.has_ended() {
            process::signal(self.process, signal);
        }
    }

    /// Asks the leader to end after its current round of jobs.
    pub(crate) fn finish(&self) {
        drop(self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    pub(crate) async fn ended(&self) {
        let _ = self.ended.clone().wait_for(Option::is_some).await;
    }
}
