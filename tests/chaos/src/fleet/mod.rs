//! A leader, workers and a broker, each in a separate process. The leader and each worker reach the
//! broker through separate proxies.

mod broker;
mod leader;
mod memory;
mod process;
mod supervised_worker;
mod workers;

use std::{
    collections::VecDeque,
    error::Error,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use phalanx_test_node::{Cluster, NodeError, PrivateNode};
use phalanx_test_proxy::Proxy;
use rustix::process::Signal;
use tokio::sync::mpsc;

pub(crate) use broker::OwnBroker;
pub(crate) use leader::Leader;
pub use memory::MemoryLimit;
pub(crate) use memory::offer;
pub(crate) use process::ENDS_WITH_STDIN;
pub(crate) use supervised_worker::GATHER_MEMORY;
use supervised_worker::SupervisedWorker;
pub use workers::Workers;

use crate::{Effect, FaultTarget, Incident, ProcessFaults, Report};

/// A leader, its workers, and the broker if it belongs to the run.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) workers: Workers,
    /// The broker, if it belongs to the run.
    broker: Option<Arc<Mutex<OwnBroker>>>,
    /// Held by the fault that currently affects the broker: a suspended broker accepts no commands.
    pub(crate) broker_turn: tokio::sync::Mutex<()>,
    pub(crate) leader: Leader,
}

/// The settings that all processes of a fleet share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// This program, which also runs as leader and as worker.
    pub(crate) program: PathBuf,
    pub(crate) namespace: String,
    /// The heartbeat of all connections, in seconds.
    pub(crate) heartbeat: u64,
    pub(crate) faults: ProcessFaults,
    /// The incidents of the workers that start from now on.
    incidents: Mutex<VecDeque<Incident>>,
    /// The incidents of the leader.
    leader_incidents: Vec<Incident>,
    /// How many incidents may still happen.
    pending: AtomicUsize,
    /// The incidents that have begun, for the run to do its part.
    begun: mpsc::UnboundedSender<(FaultTarget, Incident)>,
    /// The memory limit of all workers together, if there is one.
    pub(crate) memory: Option<MemoryLimit>,
    /// Whether workers that end are no longer replaced.
    pub(crate) ending: AtomicBool,
    pub(crate) report: Arc<Report>,
}

impl Shared {
    pub(crate) fn new(
        program: PathBuf,
        heartbeat: u64,
        faults: ProcessFaults,
        [workers, leader]: [&[Incident]; 2],
        report: Arc<Report>,
    ) -> (Self, mpsc::UnboundedReceiver<(FaultTarget, Incident)>) {
        let (begun, received) = mpsc::unbounded_channel();
        let shared = Self {
            program,
            namespace: format!("chaos-{}", uuid::Uuid::new_v4()),
            heartbeat,
            faults,
            incidents: Mutex::new(workers.iter().copied().collect()),
            leader_incidents: leader.to_vec(),
            pending: AtomicUsize::new(workers.len() + leader.len()),
            begun,
            memory: None,
            ending: AtomicBool::new(false),
            report,
        };
        (shared, received)
    }

    /// The incidents of the next worker that starts, until it dies.
    fn next_incidents(&self) -> Vec<Incident> {
        let mut incidents = self.incidents.lock().unwrap_or_else(PoisonError::into_inner);
        let deadly = incidents.iter().position(|incident| incident.effect == Effect::Kill);
        let count = deadly.map_or(incidents.len(), |deadly| deadly + 1);
        incidents.drain(..count).collect()
    }

    /// Reads a line that a process printed; returns whether it was about an incident.
    fn read_incident(&self, process: FaultTarget, line: &str) -> bool {
        let Some(Ok(incident)) = line.strip_prefix("incident: ").map(str::parse::<Incident>) else {
            return false;
        };
        self.happened(incident);
        // The run may be over.
        let _ = self.begun.send((process, incident));
        true
    }

    fn happened(&self, incident: Incident) {
        self.report.count(&incident.name());
        self.give_up(1);
    }

    /// Some incidents will not happen: their process has ended before. Or they have.
    fn give_up(&self, incidents: usize) {
        self.pending.fetch_sub(incidents, Ordering::SeqCst);
    }

    /// How many incidents may still happen.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::SeqCst)
    }
}

impl Fleet {
    /// Starts the workers, then the leader.
    pub(crate) async fn start(
        shared: &Arc<Shared>,
        url: String,
        broker: Option<OwnBroker>,
        workers: usize,
        lead: Vec<String>,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let leader = Leader::start(shared, Proxy::to(&url).await?, lead)?;
        let workers = Workers::of(Arc::clone(shared), url, workers).await?;
        let broker = broker.map(|broker| Arc::new(Mutex::new(broker)));
        Ok(Self { workers, broker, broker_turn: tokio::sync::Mutex::new(()), leader })
    }

    pub(crate) fn proxy(&self, target: FaultTarget) -> &Proxy {
        match target {
            FaultTarget::Leader | FaultTarget::Node(_) => &self.leader.proxy,
            FaultTarget::Worker(worker) => &self.workers.all[worker].proxy,
        }
    }

    /// Sends a signal to the leader or a worker.
    pub(crate) fn signal(&self, target: FaultTarget, signal: Signal) {
        match target {
            FaultTarget::Leader => self.leader.signal(signal),
            FaultTarget::Worker(worker) => self.workers.all[worker].signal(signal),
            FaultTarget::Node(_) => unreachable!("a node of the broker is no process of the fleet"),
        }
    }

    /// Runs blocking work on the broker node.
    pub(crate) async fn with_node<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut PrivateNode) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, Box<dyn Error + Send + Sync>> {
        self.with_broker(|broker| broker.node().map(work)).await
    }

    /// Runs blocking work on the cluster.
    pub(crate) async fn with_cluster<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Cluster) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, Box<dyn Error + Send + Sync>> {
        self.with_broker(|broker| broker.cluster().map(work)).await
    }

    async fn with_broker<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut OwnBroker) -> Option<Result<T, NodeError>> + Send + 'static,
    ) -> Result<T, Box<dyn Error + Send + Sync>> {
        let broker = self.broker.clone().ok_or("the broker does not belong to this run")?;
        let done = tokio::task::spawn_blocking(move || {
            work(&mut broker.lock().unwrap_or_else(PoisonError::into_inner))
        });
        Ok(done.await?.ok_or("the fault does not apply to this kind of broker")??)
    }

    /// Drains the workers, which must exit with code 0, and removes the namespace from a shared
    /// broker.
    pub(crate) async fn end(&self) {
        self.workers.end().await;
        if self.broker.is_none() {
            // Queues that are not removed expire.
            let _ = self.workers.remove_namespace().await;
        }
    }
}
