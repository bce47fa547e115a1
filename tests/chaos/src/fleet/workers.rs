//! The workers of a fleet.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use phalanx_test_proxy::Proxy;

use super::{MemoryLimit, Shared, SupervisedWorker};
use crate::{ProcessFaults, Report};

/// The workers of one namespace, each of which is replaced when it ends.
#[derive(Debug)]
pub struct Workers {
    pub(crate) shared: Arc<Shared>,
    /// The URL of the broker, without a proxy.
    url: String,
    pub(crate) all: Vec<Arc<SupervisedWorker>>,
}

/// How long a worker may drain before it is killed: far longer than its grace period.
const PATIENCE: Duration = Duration::from_secs(90);

impl Workers {
    /// Starts workers that inject no faults into themselves.
    ///
    /// # Errors
    /// If the system has no free port for a proxy.
    pub async fn start(program: PathBuf, url: String, count: usize) -> io::Result<Self> {
        Self::within(None, program, url, count).await
    }

    /// Starts workers that share a memory limit.
    ///
    /// # Errors
    /// If the system has no free port for a proxy.
    pub async fn within(
        memory: Option<MemoryLimit>,
        program: PathBuf,
        url: String,
        count: usize,
    ) -> io::Result<Self> {
        let faults = ProcessFaults::default();
        let (shared, _) = Shared::new(program, 10, faults, [&[], &[]], Arc::default());
        Self::of(Arc::new(Shared { memory, ..shared }), url, count).await
    }

    /// The memory limit, if there is one.
    pub fn memory(&self) -> Option<&MemoryLimit> {
        self.shared.memory.as_ref()
    }

    pub(super) async fn of(shared: Arc<Shared>, url: String, count: usize) -> io::Result<Self> {
        let mut all = Vec::new();
        for number in 0..count {
            let proxy = Proxy::to(&url).await?;
            all.push(SupervisedWorker::start(number, proxy, Arc::clone(&shared)));
        }
        Ok(Self { shared, url, all })
    }

    /// The namespace whose tasks the workers consume.
    pub fn namespace(&self) -> &str {
        &self.shared.namespace
    }

    /// The problems so far, such as workers that ended by themselves.
    pub fn report(&self) -> &Report {
        &self.shared.report
    }

    /// A connection that bypasses Phalanx and the proxies.
    pub(crate) async fn raw(&self) -> Result<lapin::Connection, lapin::Error> {
        phalanx_test_support::connect(&self.url).await
    }

    /// Drains all workers. The report contains those that do not exit with code 0.
    pub async fn end(&self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        for worker in &self.all {
            worker.drain();
        }
        for worker in &self.all {
            if tokio::time::timeout(PATIENCE, worker.stopped()).await.is_err() {
                self.shared.report.problem(format!("worker {} does not drain", worker.number));
                worker.kill();
            }
        }
    }

    /// Removes the namespace from the broker.
    ///
    /// # Errors
    /// If the connection to the broker fails.
    pub async fn remove_namespace(&self) -> Result<(), lapin::Error> {
        phalanx_test_support::remove_namespace(&self.raw().await?, self.namespace()).await
    }
}
