//! A run: starts a fleet, injects the faults of a schedule and reports the outcome.

use std::{
    error::Error,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use rustix::process::Signal;
use tokio::sync::mpsc;

use crate::{
    Effect, Fault, FaultKind, FaultTarget, Incident, ProcessFaults, Report, Schedule,
    fleet::{Fleet, OwnBroker, Shared},
    inject::inject,
};

/// The broker of a run.
#[derive(Debug, Clone)]
pub enum TestBroker {
    /// A private node, which the run may kill.
    Node,
    /// A private cluster of three nodes in containers.
    Cluster,
    /// A broker that other tests use, too, by its URL.
    Shared(String),
}

/// A run of jobs on a fleet under faults.
#[derive(Debug, Clone)]
pub struct Run {
    /// The faults, and when they are injected.
    pub schedule: Schedule,
    /// The broker.
    pub broker: TestBroker,
    /// The number of workers at a time.
    pub workers: usize,
    /// The number of jobs at a time.
    pub jobs: usize,
    /// Whether the jobs move more than a leader holds, and run one after the other.
    pub heavy: bool,
    /// The heartbeat of the connections, in seconds.
    pub heartbeat: u64,
    /// The number of tasks after which the run ends. `None`: it ends when the schedule does.
    pub tasks: Option<u64>,
    /// The program of this package, which is run as leader and as worker.
    pub program: PathBuf,
}

/// The time limit of a job, and of the last round of jobs.
const BOUND: Duration = Duration::from_secs(300);
/// How long a run waits for the next incident after its last fault: as long as tests wait for
/// anything.
const LAST_INCIDENT: Duration = Duration::from_secs(120);

impl Run {
    /// Executes the run, and returns its outcome.
    pub async fn execute(self, report: Report) -> Arc<Report> {
        let report = Arc::new(report);
        report.print(&self.schedule.to_string());
        if let Err(error) = self.try_execute(&report).await {
            report.problem(error.to_string());
        }
        report
    }

    async fn try_execute(&self, report: &Arc<Report>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let own = |start: fn() -> _| tokio::task::spawn_blocking(start);
        let (url, broker) = match &self.broker {
            TestBroker::Shared(url) => (url.clone(), None),
            own_broker => {
                let cluster = matches!(own_broker, TestBroker::Cluster);
                let start = if cluster { OwnBroker::start_cluster } else { OwnBroker::start_node };
                let broker = own(start).await??;
                (broker.url(), Some(broker))
            }
        };
        let Schedule { seed, workers, leader, duplicate, delay, .. } = &self.schedule;
        let incidents = Vec::new();
        let faults = ProcessFaults { incidents, duplicate: *duplicate, delay: *delay, seed: *seed };
        let (shared, begun) = Shared::new(
            self.program.clone(),
            self.heartbeat,
            faults,
            [workers, leader],
            Arc::clone(report),
        );
        let shared = Arc::new(shared);
        let fleet = Fleet::start(&shared, url, broker, self.workers, self.lead_arguments()).await?;
        let all = async {
            self.inject_all(&fleet, &shared).await;
            fleet.leader.finish();
            let bound = if self.tasks.is_some() { Duration::MAX } else { 2 * BOUND };
            if tokio::time::timeout(bound, fleet.leader.ended()).await.is_err() {
                report.problem("the leader did not end in time".to_owned());
            }
            fleet.end().await;
        };
        // A process that is suspended when the jobs are over must be resumed before it can end.
        tokio::select! {
            () = all => {}
            () = self.complete(&fleet, begun, report) => {}
        }
        Ok(())
    }

    /// Does what the incidents of processes leave to the run. Never ends.
    async fn complete(
        &self,
        fleet: &Fleet,
        mut begun: mpsc::UnboundedReceiver<(FaultTarget, Incident)>,
        report: &Report,
    ) {
        let mut running = FuturesUnordered::new();
        loop {
            // Cancel-safe: faults stay in their set, and `recv` loses nothing.
            tokio::select! {
                Some((target, incident)) = begun.recv() => {
                    report.print(&format!("{target}: {}", incident.name()));
                    running.push(async move {
                        if let Err(error) = self.complete_one(fleet, target, incident).await {
                            report.problem(format!("{target}: {incident}: {error}"));
                        }
                    });
                }
                Some(()) = running.next() => {}
            }
        }
    }

    /// Resumes a process that has suspended itself, cuts its connections, or kills the broker.
    async fn complete_one(
        &self,
        fleet: &Fleet,
        target: FaultTarget,
        incident: Incident,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        match incident.effect {
            Effect::Kill => {}
            Effect::Suspend => {
                // The broker closes a connection after two missed heartbeats.
                tokio::time::sleep(Duration::from_secs(4 * self.heartbeat)).await;
                fleet.signal(target, Signal::CONT);
            }
            Effect::Cut => fleet.proxy(target).cut(),
            Effect::KillBroker => {
                let (kind, length) = (FaultKind::KillBroker, Duration::from_secs(1));
                inject(fleet, Fault { kind, target, length }).await?;
            }
        }
        Ok(())
    }

    fn lead_arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--seed={}", self.schedule.seed),
            format!("--jobs={}", self.jobs),
            format!("--slots={}", 2 * self.workers),
            format!("--bound={}", BOUND.as_secs()),
        ];
        arguments.extend(self.heavy.then(|| "--heavy".to_owned()));
        arguments.extend(self.tasks.map(|tasks| format!("--tasks={tasks}")));
        arguments
    }

    /// Injects the faults of the schedule, until it is over or the leader has ended.
    async fn inject_all(&self, fleet: &Fleet, shared: &Shared) {
        let started = Instant::now();
        let (faults, report) = (&self.schedule.faults, &shared.report);
        // A soak repeats the schedule until its tasks are done.
        let rounds = if self.tasks.is_some() { u32::MAX } else { 1 };
        let length = faults.last().map_or(Duration::ZERO, |(at, _)| *at);
        let all = (0..rounds).flat_map(|round| {
            faults.iter().map(move |(at, fault)| (length.saturating_mul(round) + *at, *fault))
        });
        let mut running = FuturesUnordered::new();
        for (at, fault) in all {
            let mut pause =
                std::pin::pin!(tokio::time::sleep(at.saturating_sub(started.elapsed())));
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    () = fleet.leader.ended() => break,
                    Some(()) = running.next() => {}
                }
            }
            if fleet.leader.has_ended() {
                break;
            }
            report.print(&format!("{:>7.1?}  {fault}", started.elapsed()));
            running.push(async move {
                report.count(&fault.kind.name());
                if let Err(error) = inject(fleet, fault).await {
                    report.problem(format!("{fault}: {error}"));
                }
            });
        }
        // Every fault is repaired, even if the leader has ended.
        while let Some(()) = running.next().await {}
        // Some incidents need another one first, so the last of them may never happen.
        let mut last = (shared.pending(), Instant::now());
        while shared.pending() > 0 && !fleet.leader.has_ended() && last.1.elapsed() < LAST_INCIDENT
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if shared.pending() != last.0 {
                last = (shared.pending(), Instant::now());
            }
        }
    }
}
