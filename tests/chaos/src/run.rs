//! A fleet, a schedule, and what comes of them.

use std::{
    error::Error,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};

use crate::{
    Habits, Report, Schedule,
    fleet::{Fleet, OwnBroker, Shared},
    inject::inject,
};

/// Whose broker a run takes.
#[derive(Debug, Clone)]
pub enum Place {
    /// One of its own, which it may kill.
    Own,
    /// Three nodes in containers, its own too.
    Cluster,
    /// The one of this URL, which others use too.
    At(String),
}

/// A run.
#[derive(Debug, Clone)]
pub struct Run {
    /// What goes wrong when.
    pub schedule: Schedule,
    /// Which broker.
    pub place: Place,
    /// How many workers there are.
    pub workers: usize,
    /// How many jobs run at once.
    pub jobs: usize,
    /// The heartbeat of the connections, in seconds.
    pub heartbeat: u64,
    /// Ends when so many tasks were done, and not when the schedule is over.
    pub tasks: Option<u64>,
    /// The program that leads and works: that of the package's binary.
    pub program: PathBuf,
}

/// How long a job may take, and how long the last round of jobs.
const BOUND: Duration = Duration::from_secs(300);
/// How long is waited for workers that have to die.
const LAST_DEATHS: Duration = Duration::from_secs(60);

impl Run {
    /// Runs it; what came of it is in the report.
    pub async fn go(self, report: Report) -> Arc<Report> {
        let report = Arc::new(report);
        report.say(&self.schedule.to_string());
        if let Err(error) = self.try_go(&report).await {
            report.problem(error.to_string());
        }
        report
    }

    async fn try_go(&self, report: &Arc<Report>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let own = |start: fn() -> _| tokio::task::spawn_blocking(start);
        let (url, broker) = match &self.place {
            Place::At(url) => (url.clone(), None),
            place => {
                let cluster = matches!(place, Place::Cluster);
                let start = if cluster { OwnBroker::start_cluster } else { OwnBroker::start_node };
                let broker = own(start).await??;
                (broker.url(), Some(broker))
            }
        };
        let Schedule { seed, deaths, echo, late, .. } = &self.schedule;
        let habits = Habits { death: None, echo: *echo, late: *late, seed: *seed };
        let shared =
            Shared::new(self.program.clone(), self.heartbeat, habits, deaths, Arc::clone(report));
        let shared = Arc::new(shared);
        let fleet = Fleet::start(&shared, url, broker, self.workers, self.lead_arguments()).await?;
        self.inject_all(&fleet, &shared).await;
        fleet.leader.come_to_an_end();
        let bound = if self.tasks.is_some() { Duration::MAX } else { 2 * BOUND };
        if tokio::time::timeout(bound, fleet.leader.ended()).await.is_err() {
            report.problem("the leader does not end".to_owned());
        }
        fleet.end().await;
        Ok(())
    }

    fn lead_arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--seed={}", self.schedule.seed),
            format!("--jobs={}", self.jobs),
            format!("--slots={}", 2 * self.workers),
            format!("--bound={}", BOUND.as_secs()),
        ];
        arguments.extend(self.tasks.map(|tasks| format!("--tasks={tasks}")));
        arguments
    }

    /// Does what the schedule says, until it is over or the leader has ended.
    async fn inject_all(&self, fleet: &Fleet, shared: &Shared) {
        let started = Instant::now();
        let (faults, report) = (&self.schedule.faults, &shared.report);
        // A soak goes on until its tasks are done: the schedule begins again.
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
            report.say(&format!("{:>7.1?}  {fault}", started.elapsed()));
            running.push(async move {
                report.count(&fault.kind.name());
                if let Err(error) = inject(fleet, fault).await {
                    report.problem(format!("{fault}: {error}"));
                }
            });
        }
        // What is spoilt is mended in any case.
        while let Some(()) = running.next().await {}
        // Some die only when others do: the last of them may live.
        let patience = Instant::now() + LAST_DEATHS;
        while shared.deaths_left() > 0 && !fleet.leader.has_ended() && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
