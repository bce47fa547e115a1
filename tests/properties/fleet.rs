//! The fleets that run the programs: a broker in memory, and workers that connect to it.

use std::{
    cell::Cell,
    collections::VecDeque,
    sync::{Arc, LazyLock},
    time::Duration,
};

use phalanx::{Error, Runtime};
use phalanx_conformance::{DeliveryAudit, Violation};
use phalanx_core::broker::{Broker, MessageKind, Pool};
use phalanx_inmemory::{Faults, InMemoryBroker};
use phalanx_test_support::soon;
use phalanx_worker::{Worker, WorkerOptions};
use proptest::{collection::vec, prelude::*};

use crate::program::{Outcome, Program};

/// A broker and its workers.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    /// The number of slots of each worker.
    slots: Vec<usize>,
    /// After each of these times the oldest worker dies and a new one starts.
    deaths: Vec<Duration>,
    faults: Faults,
    blocks: BlockMemories,
}

/// The memory for blocks of exchanges, in bytes.
#[derive(Debug, Clone, Copy)]
struct BlockMemories {
    /// What the leader holds; the rest goes through queues. `None` if nothing does.
    held: Option<usize>,
    /// What the first worker gathers, and others up to eight times as much; the rest goes through
    /// files.
    gathered: u64,
}

fn blocks() -> impl Strategy<Value = BlockMemories> {
    let few = (1..=65_536_usize).prop_map(Some);
    let held = prop_oneof![3 => Just(None), 2 => Just(Some(0)), 2 => few];
    let gathered = prop_oneof![Just(0), 1u64..4_096, Just(256 << 20)];
    (held, gathered).prop_map(|(held, gathered)| BlockMemories { held, gathered })
}

fn slots() -> impl Strategy<Value = Vec<usize>> {
    vec(1..4usize, 1..4)
}

/// Fleets whose broker delivers every message once and in order.
pub(crate) fn healthy() -> impl Strategy<Value = Fleet> {
    (slots(), blocks()).prop_map(|(slots, blocks)| {
        let faults = Faults::none(0);
        Fleet { slots, deaths: Vec::new(), faults, blocks }
    })
}

/// Fleets whose workers die.
pub(crate) fn dying() -> impl Strategy<Value = Fleet> {
    let deaths = vec((0..3_000u64).prop_map(Duration::from_micros), 1..5);
    (healthy(), deaths).prop_map(|(fleet, deaths)| Fleet { deaths, ..fleet })
}

/// Fleets whose broker duplicates, reorders and delays messages, and drops connections.
pub(crate) fn faulty() -> impl Strategy<Value = Fleet> {
    // An element fails its job after ten lost connections in a row, so they are rare.
    let rates = (0.0..0.3f64, 0.0..0.9f64, 0.0..0.5f64, 0.0..0.005f64);
    (slots(), any::<u64>(), rates, blocks()).prop_map(|(slots, seed, rates, blocks)| {
        let (duplicate, reorder, delay, disconnect) = rates;
        let faults = Faults::none(seed)
            .duplicate(duplicate)
            .reorder(reorder)
            .delay(delay, Duration::from_millis(3))
            .disconnect(disconnect);
        Fleet { slots, deaths: Vec::new(), faults, blocks }
    })
}

impl Fleet {
    /// Runs a program from the start of the fleet to its end.
    ///
    /// # Panics
    /// If the program hangs, or a worker breaks a rule for the settling of deliveries.
    pub(crate) fn run(&self, program: &Program) -> Result<Outcome, Error> {
        static RUNTIME: LazyLock<tokio::runtime::Runtime> =
            LazyLock::new(|| tokio::runtime::Runtime::new().expect("threads"));
        RUNTIME.block_on(soon("the program", self.run_within(program)))
    }

    async fn run_within(&self, program: &Program) -> Result<Outcome, Error> {
        let broker = InMemoryBroker::with_faults(self.faults.clone());
        // Workers with different memory cut partitions into different parts, and make the same lists.
        let started = Cell::new(0);
        let start = |slots| {
            let gathered = self.blocks.gathered.saturating_mul(1 << (started.get() % 4));
            started.set(started.get() + 1);
            AuditedWorker::start(&broker, slots, gathered)
        };
        let mut workers: VecDeque<AuditedWorker> = self.slots.iter().copied().map(start).collect();
        let builder = match self.blocks.held {
            Some(bytes) => Runtime::builder().block_memory(bytes),
            None => Runtime::builder(),
        };
        // Their brokers lose connections all the time.
        let builder = builder.quiet();
        let runtime = builder.lead(Arc::new(broker.connect())).await?;
        let mut dead = Vec::new();
        let deaths = async {
            for after in &self.deaths {
                tokio::time::sleep(*after).await;
                let Some(oldest) = workers.pop_front() else { break };
                oldest.audit.close().await;
                workers.push_back(start(oldest.slots));
                dead.push(oldest);
            }
            std::future::pending().await
        };
        let outcome = tokio::select! {
            outcome = program.run(&runtime) => outcome,
            never = deaths => never,
        };
        runtime.close().await;
        for worker in workers {
            let violations = worker.drained().await;
            assert!(violations.is_empty(), "{violations:?}");
        }
        for worker in dead {
            // A worker that died may have held deliveries of running operations.
            let mut violations = worker.drained().await;
            violations.retain(|violation| !matches!(violation, Violation::Unsettled(_)));
            assert!(violations.is_empty(), "{violations:?}");
        }
        outcome
    }
}

/// A worker, and the audit of its deliveries.
struct AuditedWorker {
    slots: usize,
    worker: Worker,
    audit: Arc<DeliveryAudit>,
}

impl AuditedWorker {
    fn start(broker: &InMemoryBroker, slots: usize, gather_memory: u64) -> Self {
        // A program that needs no more results ends its job; workers ack its tasks without a reply.
        let audit = Arc::new(DeliveryAudit::with_dead_jobs(Arc::new(broker.connect())));
        let mut options = WorkerOptions::default();
        options.pools.push(Pool::new("elsewhere").expect("a name"));
        options.slots = slots;
        options.gather_memory = gather_memory;
        options.async_slots = 8;
        options.quiet = true;
        options.leader_wait = Duration::ZERO;
        let broker: Arc<dyn Broker> = audit.clone();
        Self { slots, worker: Worker::start(broker, options), audit }
    }

    /// Drains the worker, and returns the rules that it has broken.
    async fn drained(self) -> Vec<Violation> {
        self.worker.drain();
        self.worker.finished().await;
        let mut violations = self.audit.report().violations;
        // A worker may stop in the middle of the control messages: leaders repeat their state.
        violations.retain(|violation| match violation {
            Violation::Unsettled(properties) => properties.kind != Some(MessageKind::Control),
            _ => true,
        });
        violations
    }
}
