//! Workers of one namespace, each of which is replaced when it ends.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use phalanx_test_proxy::{Parts, Proxy};

use super::{MemoryLimit, Place, Shared};
use crate::{Habits, Report};

/// Workers of one namespace, each of which is replaced when it ends.
#[derive(Debug)]
pub struct Workers {
    pub(crate) shared: Arc<Shared>,
    /// The broker's own URL.
    url: String,
    pub(crate) places: Vec<Arc<Place>>,
}

/// No worker takes so long to end, on any machine.
const PATIENCE: Duration = Duration::from_secs(90);

impl Workers {
    /// So many workers of this program, which do nothing wrong by themselves.
    ///
    /// # Errors
    /// When the system gives no port.
    pub async fn start(program: PathBuf, url: String, count: usize) -> io::Result<Self> {
        Self::within(None, program, url, count).await
    }

    /// The same, with so much memory for all of them.
    ///
    /// # Errors
    /// When the system gives no port.
    pub async fn within(
        memory: Option<MemoryLimit>,
        program: PathBuf,
        url: String,
        count: usize,
    ) -> io::Result<Self> {
        let shared = Shared::new(program, 10, Habits::default(), &[], Arc::default());
        Self::of(Arc::new(Shared { memory, ..shared }), url, count).await
    }

    /// The limit of their memory, if there is one.
    pub fn memory(&self) -> Option<&MemoryLimit> {
        self.shared.memory.as_ref()
    }

    pub(super) async fn of(shared: Arc<Shared>, url: String, count: usize) -> io::Result<Self> {
        let mut places = Vec::new();
        for number in 0..count {
            let proxy = Proxy::to(&url).await?;
            places.push(Place::fill(number, proxy, Arc::clone(&shared)));
        }
        Ok(Self { shared, url, places })
    }

    /// The namespace that they serve.
    pub fn namespace(&self) -> &str {
        &self.shared.namespace
    }

    /// What was wrong with them so far: one that ended is in it.
    pub fn report(&self) -> &Report {
        &self.shared.report
    }

    /// Where connections are that know nothing of Phalanx.
    pub(crate) async fn raw(&self) -> Result<lapin::Connection, lapin::Error> {
        let parts = Parts::of(&self.url);
        // lapin takes a slash at the end for a virtual host without a name.
        let rest = if parts.rest.trim_matches('/').is_empty() { "/%2f" } else { &parts.rest };
        let mut hosts = parts.host.split(',');
        loop {
            let host = hosts.next().unwrap_or_default();
            let url = format!("amqp://{}@{host}{rest}", parts.credentials);
            let connection = lapin::Connection::connect(&url, Default::default()).await;
            if connection.is_ok() || hosts.clone().next().is_none() {
                return connection;
            }
        }
    }

    /// Ends them; who does not end well is in the report.
    pub async fn end(&self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        for place in &self.places {
            place.drain();
        }
        for place in &self.places {
            if tokio::time::timeout(PATIENCE, place.emptied()).await.is_err() {
                self.shared.report.problem(format!("worker {} does not drain", place.number));
                place.kill();
            }
        }
    }

    /// Leaves nothing of the namespace on the broker.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn sweep(&self) -> Result<(), lapin::Error> {
        let connection = self.raw().await?;
        for last in ["task", "reply", "control", "event", "dead"] {
            let channel = connection.create_channel().await?;
            let name = format!("{}.{last}", self.namespace());
            let _ = channel.exchange_delete(name.into(), Default::default()).await;
        }
        for kind in ["task", "dead"] {
            for pool in ["default", "other"] {
                let channel = connection.create_channel().await?;
                let name = format!("{}.{kind}.{pool}", self.namespace());
                let _ = channel.queue_delete(name.into(), Default::default()).await;
            }
        }
        Ok(())
    }
}
