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
use phalanx_worker::{Worker, WorkerOptions};

use crate::{MemoryBroker, lock::lock};

/// The workers that a connection has brought along. They end with it.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    groups: Mutex<Vec<Group>>,
}

/// Workers with the same number of slots, each for other pools.
#[derive(Debug)]
struct Group {
    slots: usize,
    /// The pools that they serve.
    pools: HashSet<Pool>,
    workers: Vec<Worker>,
}

impl Workers {
    /// Starts a worker for the pool `default` and those that the operations of this program name.
    pub(crate) fn start(&self, broker: &MemoryBroker, slots: usize) {
        // A registry that cannot be used has no pools; the worker says what is wrong with it.
        let operations = Registry::global().into_iter().flat_map(Registry::iter);
        let named = operations.filter_map(|operation| Pool::new(operation.pool()?).ok());
        let pools = named.chain([Pool::default()]).collect();
        let mut group = Group { slots, pools: HashSet::new(), workers: Vec::new() };
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
        let mut options = WorkerOptions::default();
        options.pools = pools.iter().cloned().collect();
        options.slots = self.slots;
        // No leader was there before them whose jobs could be dead.
        options.listen = Duration::ZERO;
        let connection: Arc<dyn Broker> = Arc::new(broker.connect());
        self.workers.push(Worker::start(connection, options));
        self.pools.extend(pools);
    }
}
