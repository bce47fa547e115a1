//! A worker that is replaced whenever its process ends.

use std::{
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use phalanx_test_proxy::Proxy;
use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    sync::watch,
};

use super::{
    Shared,
    process::{self, Stderr},
};
use crate::{Effect, FaultTarget, Incident, ProcessFaults, faulty_operations::NUMBER};

/// How long the workers hold a delivery before they lease its task: short, so that leases occur.
const HOLD: &str = "2s";
/// Less than a partition of a heavy job has, in bytes.
pub(crate) const GATHER_MEMORY: u64 = 4 << 20;

/// A worker that is replaced whenever its process ends.
#[derive(Debug)]
pub(crate) struct SupervisedWorker {
    pub(crate) number: usize,
    pub(crate) proxy: Proxy,
    shared: Arc<Shared>,
    current: Mutex<Current>,
    /// The number of calls of [`pause`](Self::pause) that [`resume`](Self::resume) has not ended
    /// yet.
    pauses: watch::Sender<usize>,
    stopped: watch::Sender<bool>,
}

/// The process that is running now.
#[derive(Debug, Default)]
struct Current {
    process: Option<Pid>,
    /// The fault that was injected into the process, which explains its end.
    killed: bool,
    drained: bool,
}

impl SupervisedWorker {
    /// Starts the worker, and replaces it until the fleet ends.
    pub(super) fn start(number: usize, proxy: Proxy, shared: Arc<Shared>) -> Arc<Self> {
        let worker = Arc::new(Self {
            number,
            proxy,
            shared,
            current: Mutex::default(),
            pauses: watch::Sender::new(0),
            stopped: watch::Sender::new(false),
        });
        tokio::spawn(Arc::clone(&worker).supervise());
        worker
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn supervise(self: Arc<Self>) {
        let mut serial = 0;
        loop {
            // Every pause ends before the fleet does. There is no error: `self` owns the sender.
            let _ = self.pauses.subscribe().wait_for(|pauses| *pauses == 0).await;
            if self.shared.ending.load(Ordering::SeqCst) {
                break;
            }
            if let Err(error) = self.run(serial).await {
                let number = self.number;
                self.shared.report.problem(format!("worker {number} did not start: {error}"));
                break;
            }
            serial += 1;
        }
        self.stopped.send_replace(true);
    }

    /// Runs one process from its start to its end.
    async fn run(&self, serial: u64) -> std::io::Result<()> {
        let incidents = self.shared.next_incidents();
        let seed = self.shared.faults.seed ^ ((self.number as u64) << 32) ^ (serial << 40);
        let faults =
            ProcessFaults { incidents: incidents.clone(), seed, ..self.shared.faults.clone() };
        let (stderr, file) = Stderr::new()?;
        let mut command = process::command(&self.shared, &self.proxy.url(), &faults);
        command.env(NUMBER, self.number.to_string());
        command.args(["worker", "--slots", "2", "--pool", "default,other"]);
        command.args(["--connect-timeout", "10m", "--grace", "10s", "--hold", HOLD]);
        command.args(["--gather-memory", &format!("{GATHER_MEMORY}B")]);
        command.stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn()?;
        if let (Some(memory), Some(process)) = (&self.shared.memory, child.id()) {
            memory.hold(process)?;
        }
        // Waiting for a child closes the pipe to its standard input, and the worker ends with that
        // pipe.
        let _stdin = child.stdin.take();
        let lines = child.stdout.take().map(|output| BufReader::new(output).lines());
        *self.current() = Current { process: process::id(&child), ..Current::default() };
        if self.shared.ending.load(Ordering::SeqCst) {
            // `Workers::end` may have looked for the process just before it was stored.
            self.drain();
        }
        let mut left = &incidents[..];
        if let Some(mut lines) = lines {
            let process = FaultTarget::Worker(self.number);
            // Its children have the same standard output, and may live a moment longer.
            while let Ok(Some(line)) = lines.next_line().await {
                if self.shared.read_incident(process, &line) {
                    left = left.split_first().map_or(left, |(_, rest)| rest);
                }
            }
        }
        let status = child.wait().await?;
        let current = std::mem::take(&mut *self.current());
        if self.report_end(status, &current, left, &stderr) {
            left = &[];
        }
        self.shared.give_up(left.len());
        Ok(())
    }

    /// Counts an expected end, and reports any other as a problem. Returns whether it was the last
    /// incident that was `left`.
    fn report_end(
        &self,
        status: ExitStatus,
        current: &Current,
        left: &[Incident],
        stderr: &Stderr,
    ) -> bool {
        let (report, number) = (&self.shared.report, self.number);
        match (status.signal(), status.code()) {
            (Some(9), _) if current.killed => {}
            (Some(9), _) => match left {
                [death] if death.effect == Effect::Kill => {
                    self.shared.happened(*death);
                    return true;
                }
                _ => report.problem(format!("worker {number} was killed from outside the run")),
            },
            // A worker may finish draining just before it would be killed.
            (_, Some(0)) if current.drained || current.killed => report.count("drained"),
            _ => report.problem(format!("worker {number} ended: {status}\n{}", stderr.tail())),
        }
        false
    }

    pub(crate) fn kill(&self) {
        let mut current = self.current();
        current.killed = true;
        process::signal(current.process, Signal::KILL);
    }

    pub(crate) fn drain(&self) {
        let mut current = self.current();
        current.drained = true;
        process::signal(current.process, Signal::TERM);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        process::signal(self.current().process, signal);
    }

    /// Starts no replacement until [`resume`](Self::resume) has been called as often as this.
    pub(crate) fn pause(&self) {
        self.pauses.send_modify(|pauses| *pauses += 1);
    }

    /// Ends a [`pause`](Self::pause).
    pub(crate) fn resume(&self) {
        self.pauses.send_modify(|pauses| *pauses -= 1);
    }

    /// Resolves when the process has ended and will not be replaced.
    pub(super) async fn stopped(&self) {
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }
}
