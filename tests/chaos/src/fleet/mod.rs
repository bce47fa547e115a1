//! A leader, workers and a broker, each a process of its own, with a proxy in front of the broker
//! for each of them.

mod broker;
mod leader;
mod memory;
mod place;
mod process;
mod workers;

use std::{
    collections::VecDeque,
    error::Error,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};

use phalanx_test_node::{Cluster, NodeError, PrivateNode};
use phalanx_test_proxy::Proxy;

pub(crate) use broker::OwnBroker;
pub(crate) use leader::Leader;
pub use memory::MemoryLimit;
pub(crate) use memory::offer;
use place::Place;
pub(crate) use process::HELD;
pub use workers::Workers;

use crate::{Death, Habits, Party, Report};

/// What a fleet consists of.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) workers: Workers,
    /// The broker, where it is the fleet's own.
    broker: Option<Arc<Mutex<OwnBroker>>>,
    /// What is done to the broker is done one by one: one that hangs cannot be told anything.
    pub(crate) broker_turn: tokio::sync::Mutex<()>,
    pub(crate) leader: Leader,
}

/// What all processes of a fleet share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// This program, which is leader and worker too.
    pub(crate) program: PathBuf,
    pub(crate) namespace: String,
    /// In seconds.
    pub(crate) heartbeat: u64,
    pub(crate) habits: Habits,
    deaths: Mutex<VecDeque<Death>>,
    /// What the workers share of memory, if that is limited.
    pub(crate) memory: Option<MemoryLimit>,
    /// From now on nobody takes the place of who ends.
    pub(crate) ending: AtomicBool,
    pub(crate) report: Arc<Report>,
}

impl Shared {
    pub(crate) fn new(
        program: PathBuf,
        heartbeat: u64,
        habits: Habits,
        deaths: &[Death],
        report: Arc<Report>,
    ) -> Self {
        Self {
            program,
            namespace: format!("chaos-{}", uuid::Uuid::new_v4()),
            heartbeat,
            habits,
            deaths: Mutex::new(deaths.iter().copied().collect()),
            memory: None,
            ending: AtomicBool::new(false),
            report,
        }
    }

    /// Where the next worker dies.
    fn next_death(&self) -> Option<Death> {
        self.deaths.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    pub(crate) fn deaths_left(&self) -> usize {
        self.deaths.lock().unwrap_or_else(PoisonError::into_inner).len()
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

    pub(crate) fn proxy(&self, party: Party) -> &Proxy {
        match party {
            Party::Leader | Party::Node(_) => &self.leader.proxy,
            Party::Worker(place) => &self.workers.places[place].proxy,
        }
    }

    /// Does something with the broker that takes its time.
    pub(crate) async fn with_node<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut PrivateNode) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, Box<dyn Error + Send + Sync>> {
        self.with_broker(|broker| broker.node().map(work)).await
    }

    /// Does something with the cluster that takes its time.
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
        let broker = self.broker.clone().ok_or("this broker is not ours")?;
        let done = tokio::task::spawn_blocking(move || {
            work(&mut broker.lock().unwrap_or_else(PoisonError::into_inner))
        });
        Ok(done.await?.ok_or("this is not done to such a broker")??)
    }

    /// Ends the workers, who must end well, and leaves nothing on a broker of others.
    pub(crate) async fn end(self) {
        self.workers.end().await;
        if self.broker.is_none() {
            // What cannot be removed expires, or is seen by who looks for leftovers.
            let _ = self.workers.sweep().await;
        }
    }
}
