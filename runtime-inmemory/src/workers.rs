//! Workers in the process of the broker.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use phalanx_core::{
    broker::{Broker, Pool},
    registry::Registry,
};
use phalanx_worker::{Exit, Worker, WorkerOptions};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{InMemoryBroker, lock::lock};

/// Threads that may be given up for the same pools before nobody serves them any more. They stay
/// until the process ends: a fleet would end the process with its worker.
const MOST_ABANDONED: usize = 1_000;

/// The workers that a connection has brought along. They end with it.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    groups: Mutex<Vec<Group>>,
    /// Each keeps one worker.
    keepers: TaskTracker,
    stopping: CancellationToken,
}

/// Workers with the same number of slots, each for other pools.
#[derive(Debug)]
struct Group {
    slots: usize,
    /// The pools that they serve.
    pools: HashSet<Pool>,
}

impl Workers {
    /// Starts a worker for the pool `default` and those that the operations of this program name.
    pub(crate) fn start(&self, broker: &InMemoryBroker, slots: usize) {
        // A registry that cannot be used has no pools; the worker says what is wrong with it.
        let operations = Registry::global().into_iter().flat_map(Registry::iter);
        let named = operations.filter_map(|operation| Pool::new(operation.pool()?).ok());
        let pools: HashSet<Pool> = named.chain([Pool::default()]).collect();
        self.keep(broker, slots, pools.iter().cloned().collect());
        lock(&self.groups).push(Group { slots, pools });
    }

    /// Sees to it that somebody serves this pool: on a fleet that is up to people, here nobody
    /// else can.
    pub(crate) fn serve(&self, broker: &InMemoryBroker, pool: &Pool) {
        for group in &mut *lock(&self.groups) {
            if group.pools.insert(pool.clone()) {
                self.keep(broker, group.slots, vec![pool.clone()]);
            }
        }
    }

    /// Stops them, and waits for their end.
    pub(crate) async fn stop(&self) {
        lock(&self.groups).clear();
        self.stopping.cancel();
        self.keepers.close();
        self.keepers.wait().await;
    }

    fn keep(&self, broker: &InMemoryBroker, slots: usize, pools: Vec<Pool>) {
        let mut options = WorkerOptions::default();
        options.pools = pools;
        options.slots = slots;
        let connection = Arc::new(broker.connect());
        self.keepers.spawn(keep(connection, options, self.stopping.clone()));
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

/// Keeps a worker running, as those who look after a fleet do: one that has given up as many
/// threads as it has slots ends, and a fresh one takes its place.
async fn keep(
    connection: Arc<dyn Broker>,
    mut options: WorkerOptions,
    stopping: CancellationToken,
) {
    let mut abandoned = 0;
    // No leader was there before the first worker whose jobs could be dead.
    let listen = std::mem::replace(&mut options.listen, Duration::ZERO);
    loop {
        let worker = Worker::start(Arc::clone(&connection), options.clone());
        let exit = tokio::select! {
            exit = worker.finished() => exit,
            () = stopping.cancelled() => {
                worker.stop();
                worker.finished().await;
                return;
            }
        };
        let threads = match exit {
            Exit::Abandoned { threads } => threads,
            Exit::Drained | Exit::Stopped => return,
            failed => return tracing::error!(%failed, "a worker cannot serve"),
        };
        abandoned += threads;
        let pools = &options.pools;
        if abandoned >= MOST_ABANDONED {
            tracing::error!(
                ?pools,
                abandoned,
                "no worker is left: too many threads were given up to operations that do not end"
            );
            return;
        }
        tracing::warn!(?pools, abandoned, "a fresh worker replaces one that gave up its threads");
        options.listen = listen;
    }
}
