//! Workers in the process of the broker.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use phalanx_core::{
    broker::{Broker, Pool},
    registry::Registry,
};
use phalanx_worker::{Worker, WorkerOptions};

use crate::{MemoryBroker, lock::lock};

/// The workers that a connection has brought along. They end with it.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    groups: Mutex<Vec<Group>>,
}

/// Workers with the same options, each for other pools.
#[derive(Debug)]
struct Group {
    options: WorkerOptions,
    /// The pools that they serve.
    pools: HashSet<Pool>,
    workers: Vec<Worker>,
}

impl Workers {
    /// Starts a worker for the pools of `options` and those that the operations of this program
    /// name.
    pub(crate) fn start(&self, broker: &MemoryBroker, options: WorkerOptions) {
        let mut pools: HashSet<Pool> = options.pools.iter().cloned().collect();
        // A registry that cannot be used has no pools; the worker says what is wrong with it.
        let operations = Registry::global().into_iter().flat_map(Registry::iter);
        let named = operations.filter_map(|operation| operation.pool());
        pools.extend(named.filter_map(|name| Pool::new(name).ok()));
        let mut group = Group { options, pools: HashSet::new(), workers: Vec::new() };
        group.serve(broker, pools);
        lock(&self.groups).push(group);
    }

    /// Sees to it that somebody serves this pool: on a fleet that is up to people, here nobody
    /// else can.
    pub(crate) fn serve(&self, broker: &MemoryBroker, pool: &Pool) {
        for group in &mut *lock(&self.groups) {
            if !group.pools.contains(pool) {
                group.serve(broker, HashSet::from([pool.clone()]));
            }
        }
    }

    /// Stops them, and waits for their end.
    pub(crate) async fn stop(&self) {
        let groups = std::mem::take(&mut *lock(&self.groups));
        let workers = groups.iter().flat_map(|group| &group.workers);
        workers.clone().for_each(Worker::stop);
        for worker in workers {
            worker.finished().await;
        }
    }
}

impl Group {
    fn serve(&mut self, broker: &MemoryBroker, pools: HashSet<Pool>) {
        let mut options = self.options.clone();
        options.pools = pools.iter().cloned().collect();
        let connection: Arc<dyn Broker> = Arc::new(broker.connect());
        self.workers.push(Worker::start(connection, options));
        self.pools.extend(pools);
    }
}
