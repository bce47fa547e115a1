//! A place where a worker serves: when one ends, another takes it.

use std::{
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use phalanx_test_proxy::Proxy;
use rustix::process::{Pid, Signal};
use tokio::sync::watch;

use super::{
    Shared,
    process::{self, Said},
};
use crate::{Death, Habits, misbehaving::PLACE};

/// How long a delivery may go unsettled: so short that leases are seen at work.
const HOLD: &str = "2s";

/// A place where a worker serves.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) number: usize,
    pub(crate) proxy: Proxy,
    shared: Arc<Shared>,
    current: Mutex<Current>,
    /// How many reasons there are to leave it empty.
    held_open: watch::Sender<usize>,
    empty: watch::Sender<bool>,
}

/// Who serves there now.
#[derive(Debug, Default)]
struct Current {
    process: Option<Pid>,
    /// What was done to it that explains its end.
    killed: bool,
    drained: bool,
}

impl Place {
    /// Keeps it filled from now on.
    pub(super) fn fill(number: usize, proxy: Proxy, shared: Arc<Shared>) -> Arc<Self> {
        let place = Arc::new(Self {
            number,
            proxy,
            shared,
            current: Mutex::default(),
            held_open: watch::Sender::new(0),
            empty: watch::Sender::new(false),
        });
        tokio::spawn(Arc::clone(&place).keep());
        place
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep(self: Arc<Self>) {
        let mut serial = 0;
        loop {
            // Whoever holds it open lets it go before the end. An error cannot be: the sender is ours.
            let _ = self.held_open.subscribe().wait_for(|reasons| *reasons == 0).await;
            if self.shared.ending.load(Ordering::SeqCst) {
                break;
            }
            if let Err(error) = self.serve(serial).await {
                self.shared.report.problem(format!("no worker {}: {error}", self.number));
                break;
            }
            serial += 1;
        }
        self.empty.send_replace(true);
    }

    /// One worker, from its start to its end.
    async fn serve(&self, serial: u64) -> std::io::Result<()> {
        let death = self.shared.next_death();
        let seed = self.shared.habits.seed ^ ((self.number as u64) << 32) ^ (serial << 40);
        let habits = Habits { death, seed, ..self.shared.habits };
        let (said, error) = Said::new()?;
        let mut command = process::command(&self.shared, &self.proxy.url(), &habits);
        command.env(PLACE, self.number.to_string());
        command.args(["worker", "--slots", "2", "--pool", "default,other"]);
        command.args(["--connect-timeout", "10m", "--grace", "10s", "--hold", HOLD]).stderr(error);
        let mut child = command.spawn()?;
        if let (Some(memory), Some(process)) = (&self.shared.memory, child.id()) {
            memory.hold(process)?;
        }
        // Waiting for a child closes the pipe that is still in it, and that would end it.
        let _life = child.stdin.take();
        *self.current() = Current { process: process::id(&child), ..Current::default() };
        if self.shared.ending.load(Ordering::SeqCst) {
            // It came about just while the others were told.
            self.drain();
        }
        let status = child.wait().await?;
        let current = std::mem::take(&mut *self.current());
        self.tell(status, &current, death, &said);
        Ok(())
    }

    /// Whether an end was to be expected.
    fn tell(&self, status: ExitStatus, current: &Current, death: Option<Death>, said: &Said) {
        let report = &self.shared.report;
        match (status.signal(), status.code()) {
            (Some(9), _) if current.killed => {}
            (Some(9), _) => match death {
                Some(death) => report.count(&format!("died: {}", death.point)),
                None => report.problem(format!("worker {} was killed by a stranger", self.number)),
            },
            // It may have been faster than who would have killed it.
            (_, Some(0)) if current.drained || current.killed => report.count("drained"),
            _ => {
                let number = self.number;
                report.problem(format!("worker {number} ended: {status}\n{}", said.tail()));
            }
        }
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

    /// Leaves it empty when its worker ends, until [`open`](Self::open) is told `false`.
    pub(crate) fn open(&self, open: bool) {
        self.held_open.send_modify(|reasons| if open { *reasons += 1 } else { *reasons -= 1 });
    }

    /// Resolves when nobody serves there any more, nor will.
    pub(super) async fn emptied(&self) {
        let _ = self.empty.subscribe().wait_for(|empty| *empty).await;
    }
}
