//! Where programs run: a broker in memory and some workers, each on a connection of its own.

use std::{
    collections::VecDeque,
    sync::{Arc, LazyLock},
    time::Duration,
};

use phalanx::{Error, Runtime};
use phalanx_conformance::{DeliveryAudit, Violation, within_a_minute};
use phalanx_core::broker::{Broker, MessageKind, Pool};
use phalanx_inmemory::{Faults, InMemoryBroker};
use phalanx_worker::{Worker, WorkerOptions};
use proptest::{collection::vec, prelude::*};

use crate::program::{Outcome, Program};

/// A broker and its workers.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    /// The slots of each worker.
    slots: Vec<usize>,
    /// After each of these times the oldest worker dies and another one comes.
    deaths: Vec<Duration>,
    faults: Faults,
}

fn slots() -> impl Strategy<Value = Vec<usize>> {
    vec(1..4usize, 1..4)
}

/// Fleets whose broker delivers once and in order.
pub(crate) fn well() -> impl Strategy<Value = Fleet> {
    slots().prop_map(|slots| Fleet { slots, deaths: Vec::new(), faults: Faults::none(0) })
}

/// Fleets whose workers die.
pub(crate) fn dying() -> impl Strategy<Value = Fleet> {
    let deaths = vec((0..3_000u64).prop_map(Duration::from_micros), 1..5);
    (well(), deaths).prop_map(|(fleet, deaths)| Fleet { deaths, ..fleet })
}

/// Fleets whose broker does all that a broker may do.
pub(crate) fn misbehaving() -> impl Strategy<Value = Fleet> {
    // An element that ten broken connections in a row have hit fails its job: few of them.
    let rates = (0.0..0.3f64, 0.0..0.9f64, 0.0..0.5f64, 0.0..0.005f64);
    (slots(), any::<u64>(), rates).prop_map(|(slots, seed, rates)| {
        let (duplicate, reorder, delay, disconnect) = rates;
        let faults = Faults::none(seed)
            .duplicate(duplicate)
            .reorder(reorder)
            .delay(delay, Duration::from_millis(3))
            .disconnect(disconnect);
        Fleet { slots, deaths: Vec::new(), faults }
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
        let broker = InMemoryBroker::with_faults(self.faults.clone());
        let mut workers: VecDeque<Serving> =
            self.slots.iter().map(|slots| Serving::start(&broker, *slots)).collect();
        let runtime = Runtime::builder().lead(Arc::new(broker.connect())).await?;
        let mut dead = Vec::new();
        let deaths = async {
            for after in &self.deaths {
                tokio::time::sleep(*after).await;
                let Some(oldest) = workers.pop_front() else { break };
                oldest.audit.close().await;
                workers.push_back(Serving::start(&broker, oldest.slots));
                dead.push(oldest);
            }
            std::future::pending().await
        };
        let outcome = tokio::select! {
            outcome = program.run(&runtime) => outcome,
            never = deaths => never,
        };
        runtime.close().await;
        for serving in workers {
            let violations = serving.drained().await;
            assert!(violations.is_empty(), "{violations:?}");
        }
        for serving in dead {
            // It may hold what its operations still work at.
            let mut violations = serving.drained().await;
            violations.retain(|violation| !matches!(violation, Violation::Unsettled(_)));
            assert!(violations.is_empty(), "{violations:?}");
        }
        outcome
    }
}

/// A worker, and what is known of it.
struct Serving {
    slots: usize,
    worker: Worker,
    audit: Arc<DeliveryAudit>,
}

impl Serving {
    fn start(broker: &InMemoryBroker, slots: usize) -> Self {
        // A program that has what it wants ends its job; tasks that are still out are then dead.
        let audit = Arc::new(DeliveryAudit::with_dead_jobs(Arc::new(broker.connect())));
        let mut options = WorkerOptions::default();
        options.pools.push(Pool::new("elsewhere").expect("a name"));
        options.slots = slots;
        options.async_slots = 8;
        options.listen = Duration::ZERO;
        let broker: Arc<dyn Broker> = audit.clone();
        Self { slots, worker: Worker::start(broker, options), audit }
    }

    /// What it did wrong in its life.
    async fn drained(self) -> Vec<Violation> {
        self.worker.drain();
        self.worker.finished().await;
        let mut violations = self.audit.report().violations;
        // It stops listening in the midst of what it hears: control is state that is said again.
        violations.retain(|violation| match violation {
            Violation::Unsettled(properties) => properties.kind != Some(MessageKind::Control),
            _ => true,
        });
        violations
    }
}
