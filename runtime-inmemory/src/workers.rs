//! The workers that run in the process of the broker.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use phalanx_core::{
    broker::{Broker, Pool},
    notice::Notices,
    registry::Registry,
};
use phalanx_worker::{Exit, Worker, WorkerOptions};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::lock::lock;

/// How many threads the workers of the same pools may abandon before they are no longer replaced.
/// An abandoned thread exists until the process ends, which on a fleet it would do with its worker.
const MAX_ABANDONED_THREADS: usize = 1_000;

/// The workers that a connection has started; they stop with it.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    groups: Mutex<Vec<Group>>,
    /// One task per worker, which replaces the worker if it has abandoned its threads.
    tasks: TaskTracker,
    stopping: CancellationToken,
}

/// The workers of one call of [`start`](Workers::start), each for other pools.
#[derive(Debug)]
struct Group {
    slots: usize,
    /// `None` is the default of workers.
    async_slots: Option<usize>,
    /// The pools that they serve, together.
    pools: HashSet<Pool>,
}

impl Workers {
    /// Starts a worker for the pool `default` and all pools that operations of this program name.
    /// `connect` opens the connection of each worker.
    pub(crate) fn start(
        &self,
        slots: usize,
        async_slots: Option<usize>,
        connect: impl Fn() -> Arc<dyn Broker>,
    ) {
        // An invalid registry names no pools here; the worker reports the error.
        let operations = Registry::global().into_iter().flat_map(Registry::iter);
        let named = operations.filter_map(|operation| Pool::new(operation.pool()?).ok());
        let pools: HashSet<Pool> = named.chain([Pool::default()]).collect();
        let group = Group { slots, async_slots, pools };
        self.spawn(connect(), &group, group.pools.iter().cloned().collect());
        lock(&self.groups).push(group);
    }

    /// Starts a worker for `pool` in each group that does not serve it yet. On a fleet, operators
    /// start workers for further pools; in memory only the broker can.
    pub(crate) fn serve(&self, pool: &Pool, connect: impl Fn() -> Arc<dyn Broker>) {
        for group in &mut *lock(&self.groups) {
            if group.pools.insert(pool.clone()) {
                self.spawn(connect(), group, vec![pool.clone()]);
            }
        }
    }

    /// Stops all workers, and resolves when they have ended.
    pub(crate) async fn stop(&self) {
        lock(&self.groups).clear();
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn spawn(&self, connection: Arc<dyn Broker>, group: &Group, pools: Vec<Pool>) {
        let mut options = WorkerOptions::default();
        options.pools = pools;
        options.slots = group.slots;
        options.async_slots = group.async_slots.unwrap_or(options.async_slots);
        // The leader, in the same process, has the same connection.
        options.quiet = true;
        self.tasks.spawn(keep_running(connection, options, self.stopping.clone()));
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

/// Runs a worker until `stopping` is cancelled, and replaces it when it has abandoned as many
/// threads as it has slots, as the operator of a fleet would.
async fn keep_running(
    connection: Arc<dyn Broker>,
    mut options: WorkerOptions,
    stopping: CancellationToken,
) {
    let mut abandoned = 0;
    // The first worker need not listen for dead jobs before it takes tasks: no leader existed
    // before it.
    let leader_wait = std::mem::replace(&mut options.leader_wait, Duration::ZERO);
    loop {
        let worker = Worker::start(Arc::clone(&connection), options.clone());
        // Cancel-safe: `finished` only observes the end of the worker.
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
            failed => {
                tracing::error!(%failed, "an in-memory worker failed");
                return Notices::new(false).print(format_args!("a worker has failed: {failed}"));
            }
        };
        abandoned += threads;
        let pools = &options.pools;
        if abandoned >= MAX_ABANDONED_THREADS {
            tracing::error!(
                ?pools,
                abandoned,
                "too many threads are stuck in operations that do not return; \
                 these pools have no worker any more"
            );
            return;
        }
        tracing::warn!(
            ?pools,
            abandoned,
            "replacing a worker whose threads are all stuck in operations that do not return"
        );
        options.leader_wait = leader_wait;
    }
}
