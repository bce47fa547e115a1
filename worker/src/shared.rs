//! The state that every part of one worker needs: identity, settings, broker and shutdown.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use phalanx_core::{broker::Broker, id::WorkerId, registry::Registry, wire::TaskHeader};

use crate::{
    WorkerOptions,
    gathering::GatheredTask,
    process_kind::{ChunkReporter, ProcessKind},
    shutdown::Shutdown,
};

/// The state that every part of one worker needs. Tasks, replies and leaders have their own owners.
#[derive(Debug)]
pub(crate) struct Shared {
    worker: WorkerId,
    process: ProcessKind,
    options: WorkerOptions,
    broker: Arc<dyn Broker>,
    registry: &'static Registry,
    shutdown: Shutdown,
    /// The number of the last lease. Relaxed: only a number in logs.
    heartbeat: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        broker: Arc<dyn Broker>,
        options: WorkerOptions,
        registry: &'static Registry,
        process: ProcessKind,
    ) -> Self {
        let worker = match &process {
            ProcessKind::Worker => WorkerId::new(),
            ProcessKind::Child { parent, .. } => *parent,
        };
        let (shutdown, heartbeat) = (Shutdown::default(), AtomicU64::new(0));
        Self { worker, process, options, broker, registry, shutdown, heartbeat }
    }

    pub(crate) fn worker(&self) -> WorkerId {
        self.worker
    }

    pub(crate) fn options(&self) -> &WorkerOptions {
        &self.options
    }

    pub(crate) fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// The operations of this worker.
    pub(crate) fn registry(&self) -> &'static Registry {
        self.registry
    }

    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    pub(crate) fn is_child(&self) -> bool {
        matches!(self.process, ProcessKind::Child { .. })
    }

    /// Reports the chunks of a task to the parent; `None` outside of child processes.
    pub(crate) fn reporter(&self, task: &TaskHeader) -> Option<ChunkReporter> {
        match &self.process {
            ProcessKind::Worker => None,
            ProcessKind::Child { reporters, .. } => Some(reporters(task)),
        }
    }

    /// Takes what the parent has gathered for a task; `None` outside of child processes.
    pub(crate) fn take_gathered(&self, task: &TaskHeader) -> Option<GatheredTask> {
        match &self.process {
            ProcessKind::Worker => None,
            ProcessKind::Child { gathered, .. } => gathered(task),
        }
    }

    /// The number of the next lease.
    pub(crate) fn next_heartbeat(&self) -> u64 {
        self.heartbeat.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The generation of the connection to the broker: it increases with each reconnect.
    pub(crate) fn generation(&self) -> u64 {
        self.broker.health().borrow().generation
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.broker.health().borrow().connected
    }

    /// Whether the broker is connected and accepts messages.
    pub(crate) fn is_broker_well(&self) -> bool {
        self.broker.health().borrow().is_well()
    }
}
