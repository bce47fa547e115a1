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

/// The leader of a fleet, as a process.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) proxy: Proxy,
    process: Option<Pid>,
    /// Its end tells the leader to come to an end.
    life: Mutex<Option<ChildStdin>>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Leader {
    pub(super) fn start(
        shared: &Arc<Shared>,
        proxy: Proxy,
        arguments: Vec<String>,
    ) -> std::io::Result<Self> {
        let mut command = process::command(shared, &proxy.url(), &shared.habits);
        let (said, error) = process::Said::new()?;
        command.arg("lead").args(arguments).stdout(Stdio::piped()).stderr(error);
        let mut child = command.spawn()?;
        let (id, life) = (process::id(&child), Mutex::new(child.stdin.take()));
        let lines = child.stdout.take().map(|output| BufReader::new(output).lines());
        let (end, ended) = watch::channel(None);
        let report = Arc::clone(&shared.report);
        tokio::spawn(async move {
            if let Some(mut lines) = lines {
                while let Ok(Some(line)) = lines.next_line().await {
                    report.hear(&line);
                }
            }
            let status = child.wait().await.unwrap_or_default();
            if !status.success() {
                report.problem(format!("the leader ended: {status}\n{}", said.tail()));
            }
            end.send_replace(Some(status));
        });
        Ok(Self { proxy, process: id, life, ended })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if !self.has_ended() {
            process::signal(self.process, signal);
        }
    }

    /// Lets it end its round, and then itself.
    pub(crate) fn come_to_an_end(&self) {
        drop(self.life.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    pub(crate) async fn ended(&self) {
        let _ = self.ended.clone().wait_for(Option::is_some).await;
    }
}
