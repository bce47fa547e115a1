//! Where programs run: a broker in memory and some workers, each on a connection of its own.

use std::{sync::Arc, sync::LazyLock, time::Duration};

use phalanx::{Error, Runtime};
use phalanx_conformance::{DeliveryAudit, within_a_minute};
use phalanx_core::broker::{Broker, Pool};
use phalanx_inmemory::{MemoryBroker, Misbehaviour};
use phalanx_worker::{Worker, WorkerOptions};
use proptest::prelude::*;

use crate::program::{Outcome, Program};

/// A broker and its workers.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    /// The slots of each worker.
    slots: Vec<usize>,
    misbehaviour: Misbehaviour,
}

fn slots() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1..4usize, 1..4)
}

/// Fleets whose broker delivers once and in order.
pub(crate) fn well() -> impl Strategy<Value = Fleet> {
    slots().prop_map(|slots| Fleet { slots, misbehaviour: Misbehaviour::none(0) })
}

/// Fleets whose broker does all that a broker may do.
pub(crate) fn misbehaving() -> impl Strategy<Value = Fleet> {
    // An element that ten broken connections in a row have hit fails its job: few of them.
    let rates = (0.0..0.3f64, 0.0..0.9f64, 0.0..0.5f64, 0.0..0.005f64);
    (slots(), any::<u64>(), rates).prop_map(|(slots, seed, rates)| {
        let (duplicate, reorder, delay, disconnect) = rates;
        let misbehaviour = Misbehaviour::none(seed)
            .duplicate(duplicate)
            .reorder(reorder)
            .delay(delay, Duration::from_millis(3))
            .disconnect(disconnect);
        Fleet { slots, misbehaviour }
    })
}

impl Fleet {
    /// Runs a program from the start of the fleet to its end.
    ///
    /// # Panics
    /// When it takes a minute, or a worker does to a delivery what must not be done.
    pub(crate) fn run(&self, program: &Program) -> Result<Outcome, Error> {
        static RUNTIME: LazyLock<tokio::runtime::Runtime> =
            LazyLock::new(|| tokio::runtime::Runtime::new().expect("threads"));
        RUNTIME.block_on(within_a_minute(self.run_within(program)))
    }

    async fn run_within(&self, program: &Program) -> Result<Outcome, Error> {
        let broker = MemoryBroker::with_misbehaviour(self.misbehaviour.clone());
        let workers: Vec<_> = self.slots.iter().map(|slots| serve(&broker, *slots)).collect();
        let runtime = Runtime::builder().lead(Arc::new(broker.connect())).await?;
        let outcome = program.run(&runtime).await;
        runtime.close().await;
        for (worker, audit) in workers {
            worker.drain();
            worker.finished().await;
            drop(worker);
            drop(audit);
        }
        outcome
    }
}

fn serve(broker: &MemoryBroker, slots: usize) -> (Worker, Arc<DeliveryAudit>) {
    // A program that has what it wants ends its job; tasks that are still out are then dead.
    let audit = Arc::new(DeliveryAudit::with_dead_jobs(Arc::new(broker.connect())));
    let mut options = WorkerOptions::default();
    options.pools.push(Pool::new("elsewhere").expect("a name"));
    options.slots = slots;
    options.async_slots = 8;
    options.listen = Duration::ZERO;
    let broker: Arc<dyn Broker> = audit.clone();
    (Worker::start(broker, options), audit)
}
